"""The EDM family of networks: architectures, preconditioning, loading."""

from art_rl.denoisers.edm.denoiser import EDMDenoiser, optimise
from art_rl.denoisers.edm.load import build_network, load_network, load_weights
from art_rl.denoisers.edm.preconditioning import Preconditioned
from art_rl.denoisers.edm.released import RELEASED

__all__ = [
    "RELEASED",
    "EDMDenoiser",
    "Preconditioned",
    "build_network",
    "load_network",
    "load_weights",
    "optimise",
]
