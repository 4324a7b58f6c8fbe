"""GITS: levels on which Euler jumps leave the chord of a teacher's trajectory least (2405.11326).

A teacher visits M levels.  From its state x_j and slope d_j at level s_j an Euler jump to s_i lands at
y = x_j + (s_i - s_j) d_j.  The cost of the jump is

    dev   mean over samples of |y|_perp - |x_i|_perp, |.|_perp the distance to the chord x_0 -> x_{M-1}
    l2    mean over samples of the Euclidean distance |y - x_i|
    l1    mean over samples of the sum of absolute differences

and the schedule of K steps is the path of least sum_s growth^s cost_s, by dynamic programming.  In one
dimension every trajectory lies on its chord and dev is 0 everywhere: use l2.
"""

import numpy as np

from art_rl.checks import check_one_of
from art_rl.errors import ArtRLError
from art_rl.schedules.rivals.path import best_path
from art_rl.schedules.rivals.statistics import RivalStatistics
from art_rl.schedules.schedule import Schedule

COSTS = ("dev", "l2", "l1")

# The published weight of a jump relative to the one before it.
GROWTH = 1.15


def _off_chord(points: np.ndarray, chord: np.ndarray) -> np.ndarray:
    """Distance (...,) of ``points`` (..., B, d), relative to the start, to ``chord`` (B, d)."""
    squares = (chord * chord).sum(-1)
    along = (points * chord).sum(-1) / np.maximum(squares, 1e-300)
    return np.linalg.norm(points - along[..., None] * chord, axis=-1)


def jump_costs(
    levels: np.ndarray, states: np.ndarray, slopes: np.ndarray, kind: str = "dev"
) -> np.ndarray:
    """Costs of all Euler jumps between a teacher's levels.

    Args:
        levels: (M,) float64, strictly decreasing.
        states: (M, B, *shape) float64, the teacher's states at ``levels``.
        slopes: (M, B, *shape) float64, dx/dsigma there.
        kind: a key of COSTS.

    Returns:
        (M, M) float64; entry [j, i] of the jump from level j to level i > j, 0 elsewhere.

    Raises:
        ArtRLError: an unknown kind, shapes that disagree, values that are not finite.
    """
    check_one_of("kind", kind, COSTS)
    levels = np.asarray(levels, dtype=np.float64)
    M = len(levels)
    if len(states) != M or states.shape != slopes.shape or states.ndim < 2:
        raise ArtRLError(
            f"states and slopes must be ({M}, B, *shape), got {states.shape} and {slopes.shape}"
        )
    x = states.reshape(M, states.shape[1], -1)
    d = slopes.reshape(x.shape)
    if not (np.isfinite(x).all() and np.isfinite(d).all()):
        raise ArtRLError("the teacher's states and slopes must be finite")
    start, chord = x[0], x[-1] - x[0]
    teacher = _off_chord(x - start, chord)
    teacher[-1] = 0.0
    cost = np.zeros((M, M))
    for j in range(M - 1):
        landed = x[j] + (levels[j + 1 :] - levels[j])[:, None, None] * d[j]
        if kind == "dev":
            off = _off_chord(landed - start, chord) - teacher[j + 1 :]
        else:
            off = np.linalg.norm(landed - x[j + 1 :], ord=int(kind[1]), axis=-1)
        cost[j, j + 1 :] = off.mean(1)
    return cost


def gits_schedule(statistics: RivalStatistics, K: int, model: str | None = None) -> Schedule:
    """The GITS schedule of K steps on the levels of the statistics' teacher.

    Raises:
        ArtRLError: as `best_path`, e.g. K larger than the number of the teacher's levels allows.
    """
    path, value = best_path(statistics.jump_cost, K, GROWTH)
    details = {"growth": GROWTH, "path": path, "value": value}
    levels = statistics.teacher_levels[path]
    return statistics.schedule(levels, "gits", "jump_cost", model, **details)
