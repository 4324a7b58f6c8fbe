"""Denoisers D(x; sigma): analytic ones, and networks behind the same protocol."""

from art_rl.denoisers.base import CountingDenoiser, Denoiser, drift
from art_rl.denoisers.exact import Gaussian, GaussianMixture

__all__ = ["CountingDenoiser", "Denoiser", "Gaussian", "GaussianMixture", "drift"]
