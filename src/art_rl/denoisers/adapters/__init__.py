"""Other libraries' models as denoisers: `wrap`, and the checks made before anything is measured."""

from art_rl.denoisers.adapters.check import check_denoiser, check_start
from art_rl.denoisers.adapters.model import PREDICTIONS, WrappedDenoiser
from art_rl.denoisers.adapters.wrap import TIMES, wrap

__all__ = ["PREDICTIONS", "TIMES", "WrappedDenoiser", "check_denoiser", "check_start", "wrap"]
