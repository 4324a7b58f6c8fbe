"""A noise schedule for azula's samplers: linspace(1, 0, K + 1) visits exactly our levels.

azula's samplers take K equal steps of their time t and ask the denoiser's noise schedule for (alpha_t,
sigma_t).  With alpha = 1 and sigma(1 - k / K) = sigma_k they visit the list; azula's preconditioned
denoisers see sigma_t / alpha_t only, so their schedule may be replaced at any time:

    denoiser.schedule = schedule.to("azula")
    EulerSampler(denoiser, steps=schedule.K)(sigma_max * noise)
"""

import importlib
import math
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError

# Samplers whose last step does not evaluate the model at the last level.
_EULER_LIKE = ("EulerSampler", "DDIMSampler")


def noise_schedule(sigmas: np.ndarray, *, sampler: Any = "EulerSampler", last: float = 0.0) -> Any:
    """An azula noise Schedule through the levels; see Schedule.to for the arguments.

    Raises:
        ArtRLError: azula is missing; ``last`` does not fit the list or the sampler.
    """
    name = sampler if isinstance(sampler, str) else getattr(sampler, "__name__", None)
    name = name or type(sampler).__name__
    if not (math.isfinite(last) and 0 <= last < sigmas[-2]):
        raise ArtRLError(
            f"last (azula's final level) must be in [0, {sigmas[-2]:.6g}), below the level before "
            f"it, got {last}"
        )
    if name not in _EULER_LIKE and last == 0:
        raise ArtRLError(
            f"azula's {name} evaluates the model at its last level, where sigma = 0 gives NaN: use "
            f"{' or '.join(_EULER_LIKE)}, or say last=0.001, which is another last step than the "
            "one this schedule was made for"
        )
    try:
        noise: Any = importlib.import_module("azula.noise")
    except ImportError as error:
        raise ArtRLError(
            f"azula is needed for this and cannot be imported ({error}); "
            "pip install 'art_rl[interop]'"
        ) from None
    levels = sigmas.copy()
    levels[-1] = last

    class LevelSchedule(noise.Schedule):
        """alpha = 1, sigma through the given levels at t = 1 - k / K, linear in between."""

        sigmas = tuple(levels.tolist())

        def __call__(self, t: Any) -> tuple[Any, Any]:
            K = len(self.sigmas) - 1
            position = ((1 - t) * K).clamp(0, K)
            nearest = position.round()
            # linspace in float32 misses k / K by rounding; the nodes are meant exactly.
            position = nearest.where((position - nearest).abs() < 1e-4, position)
            index = position.floor().clamp(0, K - 1)
            share = position - index
            table = t.new_tensor(self.sigmas)
            left, right = table[index.long()], table[index.long() + 1]
            return share * 0 + 1, (1 - share) * left + share * right

    return LevelSchedule()
