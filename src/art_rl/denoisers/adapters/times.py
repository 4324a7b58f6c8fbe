"""How a model is told the noise level, and on what scale it wants its input.

Every model here sees x_t = alpha x with x = x_0 + sigma noise (sigma = noise over signal), and a time:

    table   variance preserving, alpha = 1 / sqrt(1 + sigma^2), time = position in its table (DDPM)
    flow    x_t = (1 - t) x_0 + t noise, t = sigma / (1 + sigma), alpha = 1 - t, time = scale x t
    sigma   alpha = 1, time = sigma
    log     alpha = 1 / sqrt(sigma^2 + sigma_data^2), time = log(sigma) / 4 (Karras et al. 2022, table 1)
    azula   alpha_t and t of an azula noise schedule, with t from sigma_t / alpha_t = sigma by root finding

Each class turns levels sigma (n,) float64 into (alpha, time), both (n,) float64, and knows the levels
its model was trained on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.schedules.handover.conversions import flow_times, table_indices, table_sigmas


class TableTime:
    """A variance-preserving table of alpha_bar, (N,) decreasing."""

    def __init__(self, alphas_cumprod: Sequence[float] | np.ndarray) -> None:
        self.table = table_sigmas(alphas_cumprod)
        self.range = (float(self.table[0]), float(self.table[-1]))
        self.trained: tuple[float, float] | None = self.range
        self.name = f"table of {len(self.table)} steps"

    def __call__(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, time), (n,) each, of levels sigma (n,)."""
        return 1 / np.sqrt(1 + sigma**2), table_indices(np.maximum(sigma, 1e-300), self.table)


class FlowTime:
    """Flow matching; the model's time is ``scale`` t, trained for t in (0, 1)."""

    def __init__(self, scale: float = 1.0, steps: int = 1000) -> None:
        self.scale = float(scale)
        # t = 1 is sigma = infinity: a list starts one training step below.
        self.range = (1 / (steps - 1), float(steps - 1))
        self.trained: tuple[float, float] | None = self.range
        self.name = f"flow, times up to {scale:g}"

    def __call__(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, time), (n,) each, of levels sigma (n,)."""
        times = flow_times(sigma)
        return 1 - times, self.scale * times


class SigmaTime:
    """The level itself; range and training levels as said."""

    def __init__(
        self, range: tuple[float, float] | None = None, trained: tuple[float, float] | None = None
    ) -> None:
        self.range, self.trained, self.name = range, trained, "sigma"

    def __call__(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, time), (n,) each, of levels sigma (n,)."""
        return np.ones_like(sigma), sigma


class LogTime:
    """EDM's preconditioned input and noise conditioning."""

    def __init__(
        self, sigma_data: float, range: tuple[float, float], trained: tuple[float, float] | None
    ) -> None:
        self.sigma_data, self.range, self.trained = float(sigma_data), range, trained
        self.name = "log(sigma) / 4"

    def __call__(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, time), (n,) each, of levels sigma (n,)."""
        return 1 / np.sqrt(sigma**2 + self.sigma_data**2), 0.25 * np.log(sigma)


class AzulaTime:
    """An azula noise schedule t in [0, 1] -> (alpha_t, sigma_t), sigma_t / alpha_t increasing."""

    def __init__(self, schedule: Any, tensor: Any) -> None:
        self.schedule, self.tensor = schedule, tensor
        self.name = type(schedule).__name__
        low, high = np.exp(self._log_ratio(np.array([0.0, 1.0])))
        if not 0 < low < high < np.inf:
            raise ArtRLError(
                f"azula's {self.name} runs from sigma = {low:.6g} to {high:.6g}; "
                "levels must be positive, finite and increase with t"
            )
        self.range = (float(low), float(high))
        self.trained: tuple[float, float] | None = self.range

    def _scales(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alpha, sigma = self.schedule(self.tensor(t))
        return np.array(alpha.tolist()), np.array(sigma.tolist())

    def _log_ratio(self, t: np.ndarray) -> np.ndarray:
        alpha, sigma = self._scales(t)
        return np.log(sigma) - np.log(alpha)

    def __call__(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, time), (n,) each, of levels sigma (n,)."""
        from scipy.optimize import elementwise  # no attribute of a lazily loaded scipy

        levels, inverse = np.unique(sigma, return_inverse=True)
        wanted = np.log(np.clip(levels, *self.range))
        zero = np.zeros_like(wanted)
        found = elementwise.find_root(
            lambda t, target: self._log_ratio(t) - target,
            (zero, zero + 1),
            args=(wanted,),
            tolerances={"xatol": 1e-15, "xrtol": 1e-15},
        )
        # At the ends of the range rounding may leave no sign change.
        t = np.where(wanted <= np.log(self.range[0]), 0.0, found.x)
        t = np.where(wanted >= np.log(self.range[1]), 1.0, t)
        if not np.isfinite(t).all():
            raise ArtRLError(
                f"azula's {self.name}: no time found for sigma = {levels[~np.isfinite(t)][0]}"
            )
        return self._scales(t)[0][inverse], t[inverse]
