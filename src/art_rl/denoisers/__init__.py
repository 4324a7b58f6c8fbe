"""Denoisers D(x; sigma): analytic ones, and networks behind the same protocol."""

from art_rl.denoisers.analytic import Gaussian, GaussianMixture
from art_rl.denoisers.base import CountingDenoiser, Denoiser, drift

__all__ = ["CountingDenoiser", "Denoiser", "Gaussian", "GaussianMixture", "drift"]
