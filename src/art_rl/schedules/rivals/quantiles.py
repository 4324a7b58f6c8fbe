"""Rivals that place levels at equal shares of a measured length.

    rescaled entropic   length int eps2(s) / s^2 ds, eps2 the denoising error: equal
                        shares of the (rescaled) conditional entropy of x_0 (2504.13612)
    score-optimal       length sum_k sqrt(L_k), L_k = v^2 E |score(x, s_k) - score(x, s_{k+1})|^2 with
                        v = s: equal cost of the corrector between neighbours (2412.07877)

Both lengths are cumulated over the lattice of the statistics and inverted by a monotone cubic in log s.
"""

import numpy as np
import scipy

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.rivals.statistics import RivalStatistics
from art_rl.schedules.schedule import Schedule


def equal_shares(levels: np.ndarray, lengths: np.ndarray, K: int) -> np.ndarray:
    """K + 1 levels that cut a length into K equal shares.

    Args:
        levels: (M,) decreasing, positive.
        lengths: (M - 1,) length between neighbours, >= 0, in all positive.
        K: shares.

    Returns:
        (K + 1,) float64, strictly decreasing, ends those of ``levels``.

    Raises:
        ArtRLError: no length at all, or so uneven that two levels fall on one point.
    """
    check_budget(K)
    total = float(np.sum(lengths))
    if not (np.isfinite(total) and total > 0) or (np.asarray(lengths) < 0).any():
        raise ArtRLError("lengths between levels must be >= 0, finite and positive in all")
    # A floor keeps the cumulated length invertible where nothing changes.
    share = np.maximum(np.asarray(lengths, dtype=np.float64) / total, 1e-12)
    position = np.append(0.0, np.cumsum(share))
    position /= position[-1]
    curve = scipy.interpolate.PchipInterpolator(position, np.log(levels))
    grid = np.exp(curve(np.arange(K + 1) / K))
    grid[0], grid[-1] = levels[0], levels[-1]
    if not (np.diff(grid) < 0).all():
        raise ArtRLError(f"K = {K} equal shares put two levels on one point: use a smaller K")
    return grid


def entropic_schedule(statistics: RivalStatistics, K: int, model: str | None = None) -> Schedule:
    """Rescaled entropic time: equal shares of int eps2(s) / s^2 ds."""
    s, error = statistics.levels, statistics.denoising_error
    rate = error / s  # density in log s
    lengths = (rate[:-1] + rate[1:]) / 2 * -np.diff(np.log(s))
    levels = equal_shares(s, lengths, K)
    return statistics.schedule(levels, "entropic", "denoising_error", model)


def score_optimal_schedule(
    statistics: RivalStatistics, K: int, model: str | None = None
) -> Schedule:
    """Score-optimal, corrector: equal shares of sum_k s_{k+1} sqrt(E |change of the score|^2)."""
    s = statistics.levels
    lengths = s[1:] * np.sqrt(statistics.score_change)
    levels = equal_shares(s, lengths, K)
    return statistics.schedule(levels, "score_optimal", "score_change", model)
