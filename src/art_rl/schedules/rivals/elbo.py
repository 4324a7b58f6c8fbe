"""The ELBO's own schedule, by dynamic programming (Watson et al. 2021, 2106.03802).

One jump from level s_j down to s_i costs the Kullback-Leibler divergence of the two Gaussian
posteriors, with the denoiser in place of x_0 on one side:

    L[j, i] = (1 / s_i^2 - 1 / s_j^2) / 2  E |x_0 - D(x_{s_j}; s_j)|^2

so a path's total is the ELBO's loss of that list of levels, and the best path of K jumps is exact.  It
optimises likelihood, not the quality of samples.
"""

import numpy as np

from art_rl.schedules.rivals.path import best_path
from art_rl.schedules.rivals.statistics import RivalStatistics
from art_rl.schedules.schedule import Schedule


def elbo_cost(levels: np.ndarray, denoising_error: np.ndarray) -> np.ndarray:
    """(M, M) cost per coordinate, nats, of the jump from level j to level i > j; 0 elsewhere."""
    precision = 1 / np.asarray(levels, dtype=np.float64) ** 2
    gain = (precision[None, :] - precision[:, None]) / 2
    return np.triu(gain * np.asarray(denoising_error)[:, None], 1)


def elbo_schedule(statistics: RivalStatistics, K: int, model: str | None = None) -> Schedule:
    """The schedule of K steps with the least ELBO loss among the statistics' levels.

    Raises:
        ArtRLError: K larger than the number of levels allows.
    """
    path, value = best_path(elbo_cost(statistics.levels, statistics.denoising_error), K)
    levels = statistics.levels[path]
    return statistics.schedule(levels, "elbo", "denoising_error", model, path=path, value=value)
