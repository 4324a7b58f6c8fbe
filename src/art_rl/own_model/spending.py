"""What `learn` spends: network evaluations, one per state and call, planned before anything is measured.

A fine solution of n states takes REFERENCE_STEPS rk4 steps; its error, by step doubling, twice as many on
a few of them.  The learner's updates of a budget cost iterations x
(draws + 2) x points x calls of a schedule (the first call is shared); they are made smaller, all
budgets alike, until everything fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from art_rl.errors import ArtRLError
from art_rl.registry import OWN, SOLVERS, STAGES, nfe

# RK4 steps of the fine solutions.
REFERENCE_STEPS = 32
# The endpoint learner: schedules per iteration, from many to few, and its other sizes.
DRAWS = (64, 32, 16, 8)
# Starts that are ranked, and policies to choose from at the end, at most.
_STARTS, _CANDIDATES = 5, 5
_CHECKED = 64
# States and lists by which a first level is chosen.
FIRST_STATES, FIRST_LEVELS, FIRST_LISTS = 48, 4, 3
# The closed form's profile, by whether the model is exact: 32 trajectories on 48 levels, the sensitivity
# on 16, at most.
PROFILE = {False: 13_000, True: 24_500}
# Endpoints of 32 states, 18 Heun steps.
SIGMA_DATA = 32 * nfe("heun", 18)


def calls_of_list(solver: str, K: int) -> int:
    """Network calls of K steps; a whole sampler's last step may be as long as the others."""
    return STAGES[solver] * K if SOLVERS[solver].last_step == OWN else nfe(solver, K)


def reference_cost(states: int, checked: int) -> int:
    """Evaluations of a fine solution of ``states``, its error measured on ``checked`` of them."""
    calls = nfe("rk4", REFERENCE_STEPS)
    return states * calls + min(states, checked) * nfe("rk4", 2 * REFERENCE_STEPS)


def closing_cost(solver: str, lists: Mapping[int, int], states: int) -> int:
    """The closing comparison: a fine solution of ``states``, and every list of every budget from them."""
    runs = sum(count * calls_of_list(solver, K) * states for K, count in lists.items())
    return reference_cost(states, 16) + runs


@dataclass(frozen=True)
class LearnerCost:
    """What the endpoint learner spends on budgets, as a function of its sizes.

    Attributes:
        solver, budgets: what is learned; iterations, points, trials: the learner's full sizes.
        train, valid: states to learn on and to choose on.
        groups: fine solutions of both, one per first level.
    """

    solver: str
    budgets: Sequence[int]
    iterations: int
    points: int
    trials: int
    train: int
    valid: int
    groups: int = 1

    @property
    def counted(self) -> float:
        """Calls of a list as the learner counts them, over those of a whole sampler; 1 for steps."""
        lists = [K for K in self.budgets if K > 1]
        ratios = [(nfe(self.solver, K) - 1) / (calls_of_list(self.solver, K) - 1) for K in lists]
        return min(ratios, default=1.0)

    @property
    def fixed(self) -> int:
        """Fine solutions, first calls, the ranking of the starts, the choice among policies."""
        solutions = reference_cost(self.train, _CHECKED) + reference_cost(self.valid, _CHECKED)
        solutions += self.train + self.valid
        return self.groups * solutions + sum(self._beside(K) for K in self.budgets)

    def _beside(self, K: int) -> int:
        # Trials are compared three times, half as many each time.
        starts = (_STARTS + 2 * self.trials) * min(128, self.train)
        return (starts + _CANDIDATES * self.valid) * (calls_of_list(self.solver, K) - 1)

    def updates(self, draws: int, share: int) -> int:
        """Updates of all budgets when at most ``share`` is given to one of them."""
        from art_rl.learning.budgets import sizes, spent
        from art_rl.learning.endpoint import EndpointLearner
        from art_rl.settings.learners import EndpointSettings

        total, settings = 0, EndpointSettings()
        for K in self.budgets:
            one = EndpointLearner.runs(draws, K - 1) * (calls_of_list(self.solver, K) - 1)
            fitting = sizes(
                EndpointLearner, settings, one, self.trials, self.iterations,
                min(self.points, self.train), share,
            )  # fmt: skip
            total += spent(EndpointLearner, settings, one, *fitting)
        return total

    def least(self) -> int:
        """The fewest evaluations with which something can be learned."""
        return self.fixed + self.updates(DRAWS[-1], 1)

    def fit(self, left: int) -> tuple[int, int]:
        """(draws, share): the largest sizes whose cost, fixed costs included, is at most ``left``.

        Raises:
            ArtRLError: not even the smallest fit.
        """
        left -= self.fixed
        most = left > 4_000_000 * len(self.budgets)
        for draws in DRAWS if most else DRAWS[1:]:
            # A learner cut down to its floor learns more from longer runs of fewer draws.
            share = next(
                (s for s in (round(left * 0.97**n) for n in range(300)) if s > 0
                 and self.updates(draws, s) <= left), None,
            )  # fmt: skip
            if share is not None:
                return draws, share
        raise ArtRLError(
            f"{left + self.fixed:,} evaluations are left for the learner, it needs {self.least():,}"
        )


def check_affordable(
    evaluations: int, parts: Mapping[str, int], speed: float | None, minutes: float | None
) -> None:
    """Refuse a budget below the sum of ``parts``, naming the least.

    Raises:
        ArtRLError: in evaluations, or in minutes at ``speed`` evaluations a second.
    """
    least = -(-sum(parts.values()) // 1000) * 1000
    if evaluations >= least:
        return
    spent_on = ", ".join(f"{name} {cost:,}" for name, cost in parts.items() if cost)
    if minutes is not None and speed:
        raise ArtRLError(
            f"minutes must be at least {least / speed / 60:.2g} for this model, which makes "
            f"{speed:.0f} evaluations a second ({spent_on} evaluations), got {minutes}"
        )
    raise ArtRLError(
        f"evaluations must be at least {least} for these budgets and this solver ({spent_on}), "
        f"got {evaluations}"
    )
