"""The best schedule of exactly K steps for ART's objective, theta held over each step.

A clock of K equal times T/K whose speed is constant on each of them spends theta = (K/T) h_k on step k,
h_k = sigma_k - sigma_{k+1}.  With the state on the flow, ART's cost E int |Q| theta^2 dt (2601.18681,
eq. 9) becomes

    J_K(levels) = (K/T) sum_k h_k int_{step k} q dsigma,        q = E|Q|

(sum_k h_k int |x''| bounds the sum of Euler's local errors, without asymptotics).  A leap over the stiff
region pays for all of it, so the objective cannot be gamed at few steps.  The continuous closed form,
density q^(1/2), is its limit and not its optimum: on a 1-D mixture with sigma_max = 80 it costs 1.9, 1.5
and 1.1 times the optimum at K = 2, 3 and 5.

The cost of a step, (a - b) (C(a) - C(b)) with C(sigma) = int_0^sigma q, depends on its ends only, so
dynamic programming over a lattice of levels finds the best list of every budget at once:

    V_1(a) = a C(a),        V_k(a) = min_{b < a} (a - b) (C(a) - C(b)) + V_{k-1}(b)

The list found is then freed from the lattice: the same recursion over a few candidates around each of
its levels, closer and closer, which never raises the cost.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.closed_form import Trust, density_facts, node_density
from art_rl.schedules.hand_made import grid_from_density
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule, validate_sigmas

__all__ = ["StepCost", "optimal_steps", "steps_schedules"]

# Lattice of the dynamic programme: quantiles of q^(1/2), where optimal levels lie at many steps, and
# log-spaced levels, which also reach where q is nearly 0.
_BY_DENSITY, _BY_LEVEL = 640, 160
# Above this budget a step is hardly longer than the lattice's cells; the closed form is within 1e-4.
_LARGEST_BUDGET = 160
# Candidates on each side of a level, and the distance to them at which the search ends.
_SIDE, _CLOSEST = 4, 1e-8
_FINER = 6  # integrals of a profile's q use this many times as many quantiles


@dataclass(frozen=True)
class StepCost:
    """J_K of any list of levels, for one q.

    Attributes:
        sigma_max: T, the first level of every list.
        integral: C(sigma) = int_0^sigma q for float64 levels in [0, sigma_max], increasing.
        quantiles: (n + 1,) ascending from 0 to sigma_max, equal shares of int q^(1/2): where optimal
            levels lie at many steps.
    """

    sigma_max: float
    integral: Callable[[np.ndarray], np.ndarray]
    quantiles: np.ndarray

    @classmethod
    def from_cells(cls, nodes: np.ndarray, q: np.ndarray) -> "StepCost":
        """q constant on the cells of a lattice, as a table of trajectories holds it.

        Args:
            nodes: (n + 1,) ascending, nodes[0] = 0, nodes[-1] = sigma_max.
            q: (n,) finite, >= 0, not zero everywhere.

        Raises:
            ArtRLError: shapes, order or values that break these rules.
        """
        nodes, q = np.asarray(nodes, np.float64), np.asarray(q, np.float64)
        if nodes.ndim != 1 or len(nodes) < 2 or nodes[0] != 0 or not (np.diff(nodes) > 0).all():
            raise ArtRLError("nodes must be ascending levels, at least 2, the first exactly 0")
        if q.shape != (len(nodes) - 1,) or not np.isfinite(q).all() or (q < 0).any():
            raise ArtRLError(f"q must be {len(nodes) - 1} finite values >= 0, one for each cell")
        total = np.append(0.0, np.cumsum(q * np.diff(nodes)))
        root = np.append(0.0, np.cumsum(np.sqrt(q) * np.diff(nodes)))
        if not total[-1] > 0:
            raise ArtRLError("q is zero everywhere: every list of levels costs nothing")
        quantiles = np.interp(np.linspace(0, root[-1], _BY_DENSITY + 1), root, nodes)
        quantiles[0], quantiles[-1] = 0.0, nodes[-1]  # q may be 0 at an end
        return cls(float(nodes[-1]), lambda sigma: np.interp(sigma, nodes, total), quantiles)

    @classmethod
    def from_profile(
        cls, profile: Profile, propagated: bool = False, trust: Trust = "auto", smooth: bool = True
    ) -> "StepCost":
        """q of a measured profile; arguments as in `closed_form.node_density`, whose square it is.

        ``propagated`` weighs q with the share of a local error that the flow carries to the end.
        """
        density = node_density(profile, 1, propagated, trust, smooth)
        nodes = grid_from_density(
            density, _FINER * _BY_DENSITY, profile.sigma_max, smooth_below=profile.sigma_min
        )[::-1]
        rate = density(nodes) ** 2
        half, middle = np.diff(nodes)[:, None] / 2, ((nodes[1:] + nodes[:-1]) / 2)[:, None]
        points, weights = np.polynomial.legendre.leggauss(4)
        cells = (density(middle + half * points) ** 2 * weights * half).sum(1)
        curve = scipy.interpolate.CubicHermiteSpline(nodes, np.append(0.0, np.cumsum(cells)), rate)
        return cls(profile.sigma_max, curve, nodes[::_FINER])

    def __call__(self, levels: Schedule | Sequence[float] | np.ndarray) -> float:
        """J_K of a schedule or a list of K + 1 levels, >= 0; a cost, the paper's J is minus it.

        Raises:
            ArtRLError: levels that are no schedule, or that start at another sigma_max.
        """
        given = levels.sigmas if isinstance(levels, Schedule) else levels
        sigmas = np.array(validate_sigmas(given), dtype=np.float64)
        if not np.isclose(sigmas[0], self.sigma_max, rtol=1e-9):
            raise ArtRLError(
                f"the schedule starts at sigma = {sigmas[0]}, the profile at {self.sigma_max}"
            )
        steps = np.diff(sigmas) * np.diff(self.integral(np.minimum(sigmas, self.sigma_max)))
        return float((len(sigmas) - 1) / self.sigma_max * steps.sum())


def optimal_steps(cost: StepCost, budgets: Iterable[int]) -> dict[int, np.ndarray]:
    """The levels of least J_K for every K of ``budgets``.

    Budgets up to 160 start from the global optimum over a lattice of 800 levels, larger ones from the
    equidistribution of q^(1/2); both are then freed from the lattice.

    Returns:
        K -> (K + 1,) float64, strictly decreasing, ends exact; within 1e-8 of a minimum.

    Raises:
        ArtRLError: a budget below 1.
    """
    wanted = sorted({check_budget(K) for K in budgets})
    starts = _lattice_optima(cost, [K for K in wanted if K <= _LARGEST_BUDGET])
    for K in wanted:
        if K not in starts:
            shares = np.linspace(0, 1, len(cost.quantiles))
            starts[K] = np.interp(np.linspace(0, 1, K + 1), shares, cost.quantiles)
    return {K: _freed(cost, starts[K])[::-1].copy() for K in wanted}


def steps_schedules(
    profile: Profile, budgets: Iterable[int], trust: Trust = "auto", model: str | None = None
) -> dict[int, Schedule]:
    """For every K of ``budgets`` the schedule of K steps with the least held-step cost J_K.

    All budgets together take about a second.  Arguments as in `closed_form.quadrature_schedule`; the
    method is "quadrature_steps" and details["cost"] is J_K.

    Raises:
        ArtRLError: as `closed_form.node_density`; a budget below 1.
    """
    cost = StepCost.from_profile(profile, trust=trust)
    facts = density_facts(profile, False, trust, True)
    return {
        K: Schedule.found(
            levels,
            "quadrature_steps",
            {"cost": cost(levels), **facts},
            model=model,
            model_digest=profile.model_digest,
        )
        for K, levels in optimal_steps(cost, budgets).items()
    }


def _lattice(quantiles: np.ndarray) -> np.ndarray:
    """Ascending ``quantiles`` from 0 to sigma_max with log-spaced levels between them."""
    added = np.geomspace(quantiles[1] / 4, quantiles[-1], _BY_LEVEL)
    return np.unique(np.concatenate([quantiles, added[:-1]]))


def _lattice_optima(cost: StepCost, budgets: list[int]) -> dict[int, np.ndarray]:
    """Ascending levels of the best list on the lattice, for every budget."""
    if not budgets:
        return {}
    levels = _lattice(cost.quantiles)
    C = cost.integral(levels)
    h = levels[:, None] - levels
    steps = np.where(h > 0, h * (C[:, None] - C), np.inf)  # from every level down to every level
    value = steps[:, 0].copy()
    value[0] = np.inf  # a list of k steps cannot begin at 0
    chosen = [np.zeros(len(levels), int)]
    for _ in range(max(budgets) - 1):
        total = steps + value
        choice = total.argmin(1)
        value = total[np.arange(len(levels)), choice]
        chosen.append(choice)
    optima = {}
    for K in budgets:
        place, path = len(levels) - 1, [len(levels) - 1]
        for k in range(K - 1, -1, -1):
            place = int(chosen[k][place])
            path.append(place)
        optima[K] = levels[path[::-1]]
    return optima


def _freed(cost: StepCost, levels: np.ndarray) -> np.ndarray:
    """``levels`` (ascending) moved off the lattice to a minimum of J_K.

    Each inner level gets candidates within a share of the way to its neighbours; the recursion picks
    the best combination.  The share shrinks once no level moved to the last candidate.
    """
    K = len(levels) - 1
    if K < 2:
        return levels
    offsets = np.arange(-_SIDE, _SIDE + 1) / _SIDE
    every = np.arange(len(offsets))
    C_end = cost.integral(levels[-1:])
    reach = 0.45  # neighbours' candidates never cross
    while reach > _CLOSEST:
        room = np.minimum(np.diff(levels)[:-1], np.diff(levels)[1:])
        candidates = levels[1:-1, None] + reach * room[:, None] * offsets
        C = cost.integral(candidates)
        # Of the steps between inner levels, from every candidate to every candidate of the next.
        steps = candidates[1:, :, None] - candidates[:-1, None, :]
        steps *= C[1:, :, None] - C[:-1, None, :]
        value = candidates[0] * C[0]
        chosen = []
        for step in steps:
            total = step + value
            choice = total.argmin(1)
            value = total[every, choice]
            chosen.append(choice)
        place = int(((levels[-1] - candidates[-1]) * (C_end - C[-1]) + value).argmin())
        path = [place]
        for choice in reversed(chosen):
            place = int(choice[place])
            path.append(place)
        moves = np.array(path[::-1])
        levels = levels.copy()
        levels[1:-1] = candidates[np.arange(K - 1), moves]
        if np.abs(moves - _SIDE).max() < _SIDE:
            reach /= 3
    return levels
