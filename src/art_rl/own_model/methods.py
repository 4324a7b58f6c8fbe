"""One function per family of methods: from a problem (model, states, solver, budgets) to schedules.

Every function returns K -> Schedule; a learner says in details["converged"] whether it met its criterion,
and in details["verdict"] what came out.  Costs are network evaluations, one per state and call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from art_rl.checks import check_known
from art_rl.denoisers.base import Denoiser, is_exact, trained_noise
from art_rl.errors import ArtRLError
from art_rl.flow.measure_errors import measure_error_moments
from art_rl.flow.measure_profile import measure_profile
from art_rl.flow.rivals.measure import measure_rival_statistics
from art_rl.flow.rivals.oss import oss_schedules
from art_rl.own_model.compare import Yardstick, squared_errors
from art_rl.own_model.spending import (
    FIRST_LEVELS,
    FIRST_LISTS,
    FIRST_STATES,
    REFERENCE_STEPS,
    LearnerCost,
    calls_of_list,
    reference_cost,
)
from art_rl.registry import DECOUPLED, LD3, LD3_DECOUPLED, METHODS, ORDERS, SINGLE_STEP, TRANSFER
from art_rl.schedules.closed_form import quadrature_schedule, trained_range
from art_rl.schedules.endpoint import endpoint_schedule
from art_rl.schedules.hand_made import BASELINES, baseline_schedule, edm
from art_rl.schedules.rivals.dmn import dmn_schedule
from art_rl.schedules.rivals.makers import FROM_STATISTICS
from art_rl.schedules.schedule import Schedule
from art_rl.schedules.steps import steps_schedules

Schedules = dict[int, Schedule]


@dataclass(frozen=True)
class Problem:
    """What a method is given.

    Attributes:
        denoiser: the model, its sigma_data known.
        x_train, x_valid: (B, *shape), (V, *shape) float64 states at sigma_max.
        sigma_max, sigma_min: range, data units.
        solver: an id of the table of solvers.
        budgets: ascending values of K.
        evaluations: network evaluations after which the method must have ended.
        seed: of the learner.
        batch: states per network call.
        free_start: whether a list may begin below sigma_max.
    """

    denoiser: Denoiser
    x_train: Tensor
    x_valid: Tensor
    sigma_max: float
    sigma_min: float
    solver: str
    budgets: tuple[int, ...]
    evaluations: int
    seed: int
    batch: int
    progress: bool
    free_start: bool = False

    @property
    def left(self) -> int:
        """Network evaluations the method may still spend."""
        return self.evaluations - getattr(self.denoiser, "rows", 0)

    @property
    def trust(self) -> tuple[float, float] | str | None:
        """Levels whose |Q| is believed: those the model was trained on, all of them if that is unknown.

        EDM's training levels ("auto") serve this package's own networks only.
        """
        model = getattr(self.denoiser, "denoiser", self.denoiser)
        if hasattr(model, "trained"):
            return model.trained
        own = type(model).__module__.startswith("art_rl.denoisers.")
        return "auto" if own and not is_exact(model) else None

    def some(self, count: int) -> Tensor:
        """The first ``count`` states to learn on."""
        return self.x_train[:count]


def solve_with(method: str, problem: Problem) -> Schedules:
    """The schedules of ``method`` for every budget.

    Raises:
        ArtRLError: unknown method, or one that this problem does not allow, with the reason.
    """
    check_method(method, problem)
    make = _hand_made if method in BASELINES else _FAMILIES[method]
    return make(method, problem)


def check_method(method: str, problem: Problem) -> None:
    """Refuse an unknown method, or one that this problem does not allow, before anything is measured.

    Raises:
        ArtRLError: with the reason, and what to take instead.
    """
    if method in METHODS and METHODS[method].group == TRANSFER:
        raise ArtRLError(
            f"{method!r} carries a schedule over, it learns none: Schedule.load(path).resample(K)"
        )
    if alone := {LD3_DECOUPLED: LD3, DECOUPLED: "art_rl_endpoint"}.get(method):
        raise ArtRLError(
            f"{method!r} is no list that another sampler can take: it also moves the levels that the "
            f"denoiser is told; {alone!r} learns the list alone"
        )
    check_known("method", method, sorted({*BASELINES, *_FAMILIES}))
    if method == "endpoint" and problem.solver not in SINGLE_STEP:
        raise ArtRLError(
            f"method {method!r} needs a single-step solver ({', '.join(SINGLE_STEP)}), "
            f"got {problem.solver!r}"
        )
    model = getattr(problem.denoiser, "denoiser", problem.denoiser)
    if method == "ld3" and hasattr(model, "formula"):
        raise ArtRLError(
            "method 'ld3' differentiates through the levels, which wrapped models do not offer; "
            "'art_rl_endpoint' and 'gauss_newton' minimise the same error without derivatives"
        )


def _hand_made(method: str, p: Problem) -> Schedules:
    c = float(p.denoiser.sigma_data)
    return {K: baseline_schedule(method, K, p.sigma_max, p.sigma_min, c) for K in p.budgets}


def _profile(p: Problem) -> Any:
    # About 13,000 evaluations for 32 trajectories of an image network.
    return measure_profile(
        p.denoiser, p.some(32), p.sigma_max, p.sigma_min, levels=48,
        progress=p.progress, sensitivity_levels=16, batch_size=p.batch,
    )  # fmt: skip


def _closed_form(method: str, p: Problem) -> Schedules:
    profile = _profile(p)
    if method == "quadrature_steps":
        return steps_schedules(profile, p.budgets, trust=p.trust)
    order = ORDERS[p.solver] if method == "quadrature_order" else 1
    if order not in profile.mean:
        raise ArtRLError(
            f"the profile knows orders {sorted(profile.mean)}, {p.solver!r} is of order {order}"
        )
    propagated = method == "propagated"
    return {K: quadrature_schedule(profile, K, order, propagated, p.trust) for K in p.budgets}


def _convex(method: str, p: Problem) -> Schedules:
    moments = measure_error_moments(
        p.denoiser, p.some(64), p.sigma_max, p.sigma_min, p.solver,
        progress=p.progress, batch_size=p.batch,
    )  # fmt: skip
    return {K: endpoint_schedule(moments, K) for K in p.budgets}


def _rival(method: str, p: Problem) -> Schedules:
    statistics = measure_rival_statistics(
        p.denoiser, p.some(64), p.sigma_max, p.sigma_min, levels=128,
        paths=64, seed=p.seed, batch_size=p.batch, progress=p.progress,
    )  # fmt: skip
    return {K: FROM_STATISTICS[method](statistics, K) for K in p.budgets}


def _dmn(method: str, p: Problem) -> Schedules:
    return {K: dmn_schedule(K, p.sigma_max, p.sigma_min) for K in p.budgets}


def _oss(method: str, p: Problem) -> Schedules:
    teacher = edm(max(60, 2 * p.budgets[-1]), p.sigma_max, p.sigma_min)
    return oss_schedules(p.denoiser, p.some(32), teacher, list(p.budgets))


def _art_rl(method: str, p: Problem) -> Schedules:
    """The papers' objective, learned on one table of trajectories: no network call while learning."""
    from art_rl.learning import (
        HeldCost,
        LearnerConfig,
        TableEnvironment,
        distill,
        learn_budgets,
        learn_paper,
        train,
    )
    from art_rl.learning.trust import trusted_table
    from art_rl.settings.learners import NaturalSettings, PaperSettings

    # Half are held out, and |Q| of a few numbers differs more between trajectories than that of an image.
    count = max(128, min(512, p.left // 600)) if p.batch > 128 else 128
    table = TableEnvironment.from_denoiser(
        p.denoiser, p.some(count), p.sigma_max, p.sigma_min, cells=96, progress=p.progress
    )
    trust = p.trust
    if trust is not None:
        known = trained_range(*trained_noise(p.denoiser)) if isinstance(trust, str) else trust
        table = trusted_table(table, known)
    # The learners start from densities of EDM's sigma_data; on another scale two of them stay far away.
    unit = float(p.denoiser.sigma_data) / 0.5
    table = table.in_units(unit)
    learned: Any
    if method == "art_rl_paper":
        learned = learn_paper(table, p.budgets, PaperSettings(seed=p.seed), progress=p.progress)
    elif method == "art_rl":
        settings = NaturalSettings(seed=p.seed, points=64)
        learned = learn_budgets(HeldCost(table), p.budgets, settings, progress=p.progress)
    else:
        learned = train(table, LearnerConfig(seed=p.seed), progress=p.progress)
    found = {}
    for K in p.budgets:
        own = distill(learned, K) if method == "art_rl_feedback" else learned.schedule(K)
        levels = (p.sigma_max, *(unit * level for level in own.sigmas[1:]))
        details = {**own.provenance["details"], "unit": unit}
        found[K] = _said(Schedule(levels, {**own.provenance, "details": details}))
    return found


def _said(schedule: Schedule) -> Schedule:
    """The same with a verdict that says how far from the optimum a learner stayed."""
    details = dict(schedule.provenance["details"])
    details["verdict"] = "converged"
    if not details["converged"]:
        details["verdict"] = (
            f"not converged: its objective is {details['ratio']:.4g} of the optimum's"
        )
    return schedule.with_provenance(details=details)


def _art_rl_endpoint(method: str, p: Problem) -> Schedules:
    """The measured endpoint error of the solver at every budget.

    Where the model sets sigma_max, a step from there to a tenth of it is often one wasted: the flow is a
    straight line so far from the data.  The first level is chosen among fractions of sigma_max by the
    endpoint errors of the start densities; the same noise, scaled to that level, begins there.
    """
    from art_rl.settings.learners import EndpointRun

    levels = _first_levels(p) if p.free_start else dict.fromkeys(p.budgets, p.sigma_max)
    found: Schedules = {}
    firsts = sorted(set(levels.values()), reverse=True)
    # What is left is divided once: a budget's share does not depend on what another one saves.
    cost = endpoint_cost(p, len(firsts))
    draws, share = cost.fit(p.left)
    settings = EndpointRun(
        seed=p.seed,
        draws=draws,
        points=min(cost.points, cost.train),
        iterations=cost.iterations,
        trials=cost.trials,
        evaluations=max(1, int(share * cost.counted)),
        start_points=min(128, cost.train),
        batch_rows=max(p.batch, 128),
    )
    for first in firsts:
        found |= _from_level(p, first, [K for K in p.budgets if levels[K] == first], settings)
    return found


def endpoint_cost(p: Problem, groups: int) -> LearnerCost:
    """What learning on the endpoint error costs with ``groups`` first levels."""
    large = p.left > 4_000_000 * len(p.budgets)
    return LearnerCost(
        p.solver, p.budgets, iterations=24, points=512 if large else 128,
        trials=16 if large else 4, train=len(p.x_train), valid=len(p.x_valid), groups=groups,
    )  # fmt: skip


def first_levels_cost(p: Problem) -> int:
    """What the choice of a first level costs."""
    states = min(FIRST_STATES, len(p.x_valid))
    runs = FIRST_LEVELS * FIRST_LISTS * states * sum(calls_of_list(p.solver, K) for K in p.budgets)
    return reference_cost(states, 16) + runs


def _first_levels(p: Problem) -> dict[int, float]:
    """K -> first level, the best of a few for the best of the start densities."""
    x = p.x_valid[:FIRST_STATES]
    goal = Yardstick.of(p.denoiser, x, p.sigma_max, p.sigma_min, REFERENCE_STEPS, p.batch)
    c = float(p.denoiser.sigma_data)
    firsts = [p.sigma_max / d for d in (1, 2, 4, 8) if d == 1 or p.sigma_max / d > _FAR * c]
    chosen = {}
    for K in p.budgets:
        errors: dict[float, float] = {}
        for first in firsts:
            for name in ("arctan", "gaussian", "edm_no_sigma_min"):
                start = baseline_schedule(name, K, first, p.sigma_min, c)
                error = squared_errors(p.denoiser, start, p.solver, goal, p.batch).mean()
                errors[first] = min(error, errors.get(first, error))
        chosen[K] = min(firsts, key=lambda first: errors[first])
    return chosen


def _from_level(p: Problem, first: float, budgets: list[int], settings: Any) -> Schedules:
    from art_rl.learning import EndpointError, learn_budgets

    scale = first / p.sigma_max
    reward = EndpointError(
        p.denoiser,
        scale * p.x_train,
        scale * p.x_valid,
        first,
        p.sigma_min,
        p.solver,
        batch_rows=settings.batch_rows,
        reference_steps=REFERENCE_STEPS,
    )
    result = learn_budgets(reward, budgets, settings, "art_rl_endpoint", progress=p.progress)
    found = {}
    for K in budgets:
        schedule = result.schedule(K)
        details = dict(schedule.provenance["details"])
        details["converged"] = True
        rmse, error = details.get("merit_learned"), details.get("reference_error")
        if rmse is not None and error is not None and rmse < 3 * error:
            details["converged"] = False
            details["verdict"] = (
                f"at the reference's own error: learned to {rmse:.3g}, reference {error:.3g}"
            )
        found[K] = schedule.with_provenance(details=details)
    return found


def _gauss_newton(method: str, p: Problem) -> Schedules:
    """The classical way on the same objective, from hand-made starts."""
    from art_rl.learning.gauss_newton import gauss_newton_schedules

    c = float(p.denoiser.sigma_data)
    starts = {
        K: {
            name: baseline_schedule(name, K, p.sigma_max, p.sigma_min, c)
            for name in ("gaussian", "arctan", "edm")
        }
        for K in p.budgets
    }
    return gauss_newton_schedules(
        p.denoiser, p.some(64), p.x_valid[:64], p.sigma_max, p.sigma_min, p.solver, starts,
        progress=p.progress,
    )  # fmt: skip


def _ld3(method: str, p: Problem) -> Schedules:
    """Back-propagation through the sampler: the model must be differentiable in its level."""
    from art_rl.learning.ld3 import learn_ld3
    from art_rl.settings.rivals import LD3Settings

    x = torch.cat([p.x_train, p.x_valid])
    half = min(64, len(x) // 2)
    learned = learn_ld3(
        p.denoiser, x[: 2 * half], p.sigma_max, p.sigma_min, p.solver, list(p.budgets),
        LD3Settings(train=half, valid=half), progress=p.progress,
    )  # fmt: skip
    return {K: schedule for K, (schedule, _) in learned.items()}


# Multiples of sigma_data from which noise is all that a state shows.
_FAR = 20.0

_FAMILIES: dict[str, Callable[[str, Problem], Schedules]] = {
    "quadrature": _closed_form,
    "quadrature_steps": _closed_form,
    "quadrature_order": _closed_form,
    "propagated": _closed_form,
    "endpoint": _convex,
    **dict.fromkeys(FROM_STATISTICS, _rival),
    "dmn": _dmn,
    "oss": _oss,
    "gauss_newton": _gauss_newton,
    "ld3": _ld3,
    "art_rl": _art_rl,
    "art_rl_feedback": _art_rl,
    "art_rl_paper": _art_rl,
    "art_rl_endpoint": _art_rl_endpoint,
}
