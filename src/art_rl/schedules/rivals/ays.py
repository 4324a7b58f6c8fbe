"""Align Your Steps: levels of least KLUB, by coordinate descent (Sabour et al. 2024, 2404.14507).

A step from level s_i to s_j freezes the denoiser at s_i.  The Girsanov bound on the divergence to the
true reverse process adds, for each step,

    KLUB[i, j] = int_{s_j}^{s_i} s^-3  E |D(x_s; s) - D(x_{s_i}; s_i)|^2 ds

with x_{s_i} the noisier state of the same forward path.  Here the expectation is a table on a lattice
of levels, the integral a trapezoidal rule in log s, and nodes move on the lattice.

As published: 10 steps from EDM's levels by coordinate descent with 11 candidates per node; twice halved
(the new node in the log-middle, only new nodes move); other numbers of steps by log-linear
interpolation of the 40.  The published early stop is by eye: the bound's own minimum spends too many
levels at low noise.  Here a sweep over the nodes that lowers the bound by less than 30 % is the last
one (of 1, 5, 10, 30 and 90 % the share with the best samples on the exact models, docs/rivals.md).
"""

import itertools

import numpy as np

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.rivals.statistics import RivalStatistics
from art_rl.schedules.schedule import Schedule

CANDIDATES = 11
LEAST_GAIN = 0.3
FIRST, HALVINGS = 10, 2
_MOST_SWEEPS = 100


def klub_table(levels: np.ndarray, denoiser_change: np.ndarray) -> np.ndarray:
    """(M, M): entry [i, j] is KLUB of the step from level i to level j > i; 0 elsewhere.

    Args:
        levels: (M,) decreasing, positive.
        denoiser_change: (M, M) mean square of D(x_j; s_j) - D(x_i; s_i).
    """
    s = np.asarray(levels, dtype=np.float64)
    integrand = denoiser_change / s**2  # row i: the frozen level; per unit of log s_j
    cells = (integrand[:, 1:] + integrand[:, :-1]) / 2 * -np.diff(np.log(s))
    total = np.concatenate([np.zeros((len(s), 1)), np.cumsum(cells, axis=1)], axis=1)
    return np.triu(total - np.diag(total)[:, None], 1)


def _descend(table: np.ndarray, nodes: list[int], moving: list[int]) -> list[int]:
    """Coordinate descent over the nodes at positions ``moving``; returns new nodes."""
    nodes = list(nodes)
    pairs = list(itertools.pairwise(nodes))
    bound = sum(table[i, j] for i, j in pairs)
    for _ in range(_MOST_SWEEPS):
        before = bound
        for n in moving:
            left, right = nodes[n - 1], nodes[n + 1]
            spread = np.linspace(left, right, CANDIDATES + 2)[1:-1]
            tried = np.unique(np.append(np.rint(spread).astype(int), nodes[n]))
            tried = tried[(tried > left) & (tried < right)]
            values = table[left, tried] + table[tried, right]
            here = table[left, nodes[n]] + table[nodes[n], right]
            if values.min() < here:
                bound += values.min() - here
                nodes[n] = int(tried[values.argmin()])
        if not bound < (1 - LEAST_GAIN) * before:
            break
    return nodes


def ays_nodes(levels: np.ndarray, table: np.ndarray) -> list[int]:
    """Indices of the 41 levels of the 40-step list, ascending.

    Raises:
        ArtRLError: fewer than 120 levels: 40 steps need room to move.
    """
    M = len(levels)
    if M < 120:
        raise ArtRLError(f"Align Your Steps needs at least 120 levels to move nodes on, got {M}")
    rho = np.linspace(levels[0] ** (1 / 7), levels[-1] ** (1 / 7), FIRST + 1) ** 7
    position = np.interp(-np.log(rho), -np.log(levels), np.arange(M))
    nodes = _distinct(np.rint(position).astype(int), M)
    nodes = _descend(table, nodes, list(range(1, FIRST)))
    for _ in range(HALVINGS):
        halved = []
        for left, right in itertools.pairwise(nodes):
            halved += [left, (left + right) // 2]
        nodes = _distinct(np.array([*halved, M - 1]), M)
        nodes = _descend(table, nodes, list(range(1, len(nodes) - 1, 2)))
    return nodes


def _distinct(nodes: np.ndarray, M: int) -> list[int]:
    """Strictly ascending indices from 0 to M - 1 close to ``nodes``."""
    n = np.arange(len(nodes))
    up = np.maximum.accumulate(nodes - n) + n
    back = np.minimum.accumulate((np.minimum(up, M - len(n) + n) - n)[::-1])[::-1] + n
    back[0], back[-1] = 0, M - 1
    return [int(v) for v in back]


def ays_schedule(statistics: RivalStatistics, K: int, model: str | None = None) -> Schedule:
    """The Align Your Steps schedule of K steps, read off the list of 40.

    Raises:
        ArtRLError: too few levels in the statistics.
    """
    check_budget(K)
    table = klub_table(statistics.levels, statistics.denoiser_change)
    nodes = ays_nodes(statistics.levels, table)
    known = np.log(statistics.levels[nodes])
    levels = np.exp(np.interp(np.arange(K + 1) / K, np.linspace(0, 1, len(known)), known))
    levels[0] = statistics.levels[0]
    bound = float(sum(table[i, j] for i, j in itertools.pairwise(nodes)))
    return statistics.schedule(levels, "ays", "denoiser_change", model, bound_of_40=bound)
