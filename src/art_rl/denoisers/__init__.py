"""Denoisers D(x; sigma): analytic ones, networks, and other libraries' models behind one protocol."""

from art_rl.denoisers.base import CountingDenoiser, Denoiser, drift, is_exact
from art_rl.denoisers.exact import Gaussian, GaussianMixture

__all__ = ["CountingDenoiser", "Denoiser", "Gaussian", "GaussianMixture", "drift", "is_exact"]
