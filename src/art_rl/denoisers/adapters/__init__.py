"""Other libraries' models as denoisers: `wrap`, and the checks made before anything is measured."""

from art_rl.denoisers.adapters.check import check_denoiser, check_start
from art_rl.denoisers.adapters.wrap import wrap

__all__ = ["check_denoiser", "check_start", "wrap"]
