"""Dynamic programming over a list of candidate levels, and what all rival schedules end with.

A schedule of K steps is a path of K jumps from the first to the last of M candidate levels.  When the
quality of a path is a sum over its jumps, the best one is found exactly in O(K M^2):

    V[j, 1] = c[j, M-1],   V[j, k] = min_{i > j} c[j, i] + growth V[i, k-1]

``growth`` weighs a jump by growth^s, s the jumps before it (GITS: 1.15; 1 is the plain sum).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.schedule import Schedule


def best_path(cost: np.ndarray, K: int, growth: float = 1.0) -> tuple[list[int], float]:
    """The path of exactly K jumps with the least weighted sum of costs.

    Args:
        cost: (M, M) float64; cost[j, i] of the jump from candidate j to candidate i > j, any sign.
            Entries with i <= j are not read.
        K: jumps, 1 <= K <= M - 1.
        growth: weight of each jump relative to the one before it, > 0.

    Returns:
        K + 1 indices, ascending, first 0, last M - 1, and the value of the path.  Of equal values the
        first index wins.

    Raises:
        ArtRLError: no square matrix, not finite above the diagonal, too many jumps, growth <= 0.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1] or len(cost) < 2:
        raise ArtRLError(f"cost must be a square matrix of at least 2 rows, got {cost.shape}")
    M = len(cost)
    upper = np.triu(np.ones((M, M), dtype=bool), 1)
    if not np.isfinite(cost[upper]).all():
        raise ArtRLError("cost must be finite above its diagonal")
    if check_budget(K) > M - 1:
        raise ArtRLError(
            f"K (number of steps) must be at most {M - 1}, the jumps between {M} candidate levels, "
            f"got {K}; give more candidates"
        )
    if not growth > 0:
        raise ArtRLError(f"growth must be greater than 0, got {growth!r}")
    jumps = np.where(upper, cost, np.inf)
    value, choices = jumps[:, -1], []
    for _ in range(K - 1):
        # The last candidate ends a path: it is no stop on the way.
        through = jumps[:, :-1] + growth * value[None, :-1]
        choices.append(through.argmin(1))
        value = through.min(1)
    path = [0]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return [*path, M - 1], float(value[0])


def ended(
    levels: np.ndarray,
    method: str,
    details: Mapping[str, Any],
    model: str | None = None,
    model_digest: str | None = None,
) -> Schedule:
    """K + 1 levels that end at sigma_min as a Schedule for any solver: the last one becomes 0.

    The published samplers stop at sigma_min; every sampler here goes on to 0, so that no step is spent
    on sigma_min.
    """
    sigmas = np.asarray(levels, dtype=np.float64).copy()
    sigmas[-1] = 0.0
    return Schedule.found(sigmas, method, details, model=model, model_digest=model_digest)
