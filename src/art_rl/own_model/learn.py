"""`art_rl.learn`: from a denoiser to schedules, with everything in between done and compared at the end."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from art_rl.checks import check_budgets, check_whole
from art_rl.denoisers.adapters.check import check_denoiser, check_start
from art_rl.denoisers.base import CountingDenoiser, Denoiser, is_exact
from art_rl.errors import ArtRLError
from art_rl.own_model.compare import (
    Yardstick,
    allowed,
    compare,
    noise_at,
    spread_of_ends,
    squared_errors,
    winner,
)
from art_rl.own_model.defaults import library_defaults
from art_rl.own_model.found import Found
from art_rl.own_model.methods import (
    Problem,
    check_method,
    endpoint_cost,
    first_levels_cost,
    solve_with,
)
from art_rl.own_model.solver import calls_of, check_repeats, known_as
from art_rl.own_model.spending import (
    FIRST_LEVELS,
    PROFILE,
    REFERENCE_STEPS,
    SIGMA_DATA,
    check_affordable,
    closing_cost,
)
from art_rl.registry import nfe
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

# Without a word about time: what the machine does in this many seconds, within these bounds.
_SECONDS, _LEAST, _MOST = 150.0, 100_000, 6_000_000
# Share of the evaluations spent on fine solutions, and how their states are divided.
_REFERENCE_SHARE, _TRAIN, _VALID = 0.3, 0.4, 0.35
_CALLS_PER_REFERENCE = 5 * REFERENCE_STEPS
_FEWEST, _MOST_STATES = 32, 1024
# Of the evaluations, for what must be spent; fewer states are used above it.
_LARGEST_SHARE = 0.6
_UNTOLD_RANGE = (0.002, 80.0)  # EDM's (Karras et al. 2022)


def learn(
    denoiser: Denoiser,
    budgets: Sequence[int] | int,
    solver: str | Callable[..., Any] = "euler",
    method: str = "art_rl_endpoint",
    x: Tensor | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    minutes: float | None = None,
    seed: int = 0,
    coordinates: str = "sigma",
    *,
    order: int | None = None,
    calls: int | None = None,
    evaluations: int | None = None,
    progress: bool = True,
) -> Found:
    """Learn a schedule per budget for your model and your solver, and compare it with what there is.

    Args:
        denoiser: from `art_rl.wrap`, or any denoiser of this package.
        budgets: numbers of steps K, each >= 1.
        solver: an id ("euler", "heun", "rk4", "dpmpp2m", ...); a step function
            step(D, x, sigma, sigma_next) -> x_next with ``order`` and ``calls``; or a whole
            sampler(D, x, levels) -> x, levels a tensor (K + 1,) that ends in 0.  The last step, to 0, of a
            step function is an Euler step.
        method: an id of the registry: "art_rl_endpoint" (learned on the endpoint error of the solver),
            "art_rl" (ART's cost of K steps), "art_rl_paper" (the papers' Algorithm 1), a closed form
            ("quadrature", "quadrature_steps", "quadrature_order", "propagated", "endpoint"), a rival
            ("ays", "gits", "dmn", ...) or a hand-made one ("edm", ...).
        x: (B, *shape), B >= 96, starting states, sigma_max * noise, of which the first are used, as many
            as the evaluations allow; default: drawn from ``seed``.
        sigma_max, sigma_min: range in units of the data; default: the model's own (its table, its flow
            times), else 80 and 0.002.  With the default "art_rl_endpoint" may begin a list at a fraction
            of the model's sigma_max where that is better; a sigma_max that you give is kept.
        minutes: time to spend; the model's measured speed turns it into a number of evaluations.
            Default: about 2.5 minutes' worth, at least 100,000 and at most 6 million.
        seed: of the noise and of the learner, >= 0.
        coordinates: "sigma", or "flow" for a solver that steps in flow time t = sigma / (1 + sigma) (Heun
            in t is not Heun in sigma; Euler is the same in both).
        order, calls: order of accuracy and network calls per step of an own step function (a sampler's
            calls are counted).
        evaluations: instead of ``minutes``, the number of evaluations (one per state and call) not to
            exceed: the same schedules on every machine.

    Returns:
        Found: a mapping K -> Schedule, with ``report``, ``recommended`` and ``save(folder)``.

    Raises:
        ArtRLError: the denoiser fails a check, a bad argument, evaluations or minutes below what must be
            measured (the least is named); before anything is measured.  A rival whose own measurement
            needs more evaluations than given ends when they are spent.
    """
    budgets = tuple(check_budgets([budgets] if isinstance(budgets, int) else budgets))
    _check_numbers(minutes, evaluations, seed)
    wrapped: Any = denoiser  # one that does not know its shape or sigma_data is told
    own_low, own_high = (getattr(denoiser, name, None) for name in ("sigma_min", "sigma_max"))
    high = float(own_high or _UNTOLD_RANGE[1]) if sigma_max is None else float(sigma_max)
    low = float(own_low or _UNTOLD_RANGE[0]) if sigma_min is None else float(sigma_min)
    if isinstance(x, Tensor) and getattr(denoiser, "shape", 0) is None:
        wrapped.shape = tuple(x.shape[1:])
    check_denoiser(denoiser, high, low)
    began, counted = time.perf_counter(), CountingDenoiser(denoiser)
    few = noise_at(denoiser, high, 2)
    check_repeats(solver, denoiser, few, high)
    if calls is None:
        three, four = (calls_of(solver, denoiser, few, high, K) for K in (3, 4))
        calls = None if three is None or four is None else max(1, four - three)
    with known_as(solver, coordinates, order, calls) as solver_id:
        batch = 1024 if math.prod(denoiser.shape) <= 256 else 64
        # With a number of evaluations nothing may depend on how fast the machine is today.
        speed: float | None = None
        if evaluations is None:
            speed = _speed(counted, high, batch)
            bound = round(speed * (_SECONDS if minutes is None else 60 * minutes))
            if minutes is None:
                bound = min(max(bound, _LEAST), _MOST)
        else:
            bound = evaluations
        others = {K: library_defaults(denoiser, K, high, low) for K in budgets}
        compared = {K: len(named) + 3 for K, named in others.items()}
        states = _states(counted, x, high, bound, seed)
        while True:
            train, valid, test = _divided(states)
            problem = Problem(
                counted, train, valid, high, low, solver_id, budgets, bound, seed, batch, progress,
                sigma_max is None and own_high is not None and x is None,
            )  # fmt: skip
            check_method(method, problem)
            parts = _parts(problem, method, compared, len(test))
            # Fine solutions of many states must not leave a learner with its smallest sizes.
            if len(states) == 3 * _FEWEST or sum(parts.values()) <= _LARGEST_SHARE * bound:
                break
            states = states[: max(3 * _FEWEST, round(0.8 * len(states)))]
        if speed is not None and minutes is None:
            bound = max(bound, sum(parts.values()))
        check_affordable(bound, parts, speed, minutes)
        counted.limit = bound
        if counted.sigma_data is None:
            # Kept here, not on the caller's object: the next call's seed measures its own.
            counted.sigma_data = spread_of_ends(counted, valid[:32], high, low)
        spent_before = counted.rows
        closing = parts["closed form"] + parts["comparison"]
        problem = replace(problem, evaluations=bound - closing)
        schedules = solve_with(method, problem)
        learning = counted.rows - spent_before
        yardstick = Yardstick.of(counted, test, high, low, REFERENCE_STEPS, batch)
        closed = schedules if method == "quadrature" else _closed_form(problem)
        report: dict[str, Any] = {
            "method": method,
            "solver": solver_id,
            "coordinates": coordinates,
            "sigma_max": high,
            "sigma_min": low,
            "sigma_data": float(counted.sigma_data),
            "model_digest": denoiser.digest,
            "seed": seed,
            "test_states": len(test),
            "reference_error": yardstick.error,
            "evaluations_asked": bound,
            "evaluations_learning": learning,
            "budgets": {},
        }
        lists: dict[int, dict[str, Schedule]] = {}
        for K in budgets:
            named = {"yours": schedules[K], **others[K]}
            if closed is not None and method != "quadrature":
                named["closed form (ART)"] = closed[K]
            named["gaussian"] = baseline_schedule("gaussian", K, high, low, counted.sigma_data)
            lists[K] = {n: s for n, s in named.items() if n == "yours" or allowed(denoiser, s)}
            report["budgets"][str(K)] = _budget(counted, K, lists[K], solver_id, yardstick, batch)
            facts = report["budgets"][str(K)]
            # A whole sampler's last step may cost as much as the others.
            facts["calls"] = calls_of(solver, denoiser, few, high, K) or facts["calls"]
            schedules[K] = lists[K]["yours"] = schedules[K].with_provenance(
                solver=schedules[K].provenance.get("solver", "any"),
                model_digest=denoiser.digest,
                details={
                    **schedules[K].provenance.get("details", {}),
                    "recommended": facts["recommended"] == "yours",
                    "held_out": {row["name"]: row["rmse"] for row in facts["rows"]},
                },
            )
    report["evaluations"] = counted.rows
    seconds = time.perf_counter() - began
    report["seconds"] = round(seconds, 1)
    report["evaluations_per_second"] = round(speed or counted.rows / seconds)
    return Found(schedules, report, lists)


def _parts(problem: Problem, method: str, lists: dict[int, int], states: int) -> dict[str, int]:
    """Evaluations of everything that has a known cost: name -> at most so many."""
    profile = PROFILE[is_exact(getattr(problem.denoiser, "denoiser", problem.denoiser))]
    parts = {
        "speed": getattr(problem.denoiser, "rows", 0),
        "sigma_data": SIGMA_DATA if problem.denoiser.sigma_data is None else 0,
        "closed form": profile,
        "comparison": closing_cost(problem.solver, lists, states),
    }
    if method == "art_rl_endpoint":
        groups = min(len(problem.budgets), FIRST_LEVELS) if problem.free_start else 1
        parts["first levels"] = first_levels_cost(problem) if problem.free_start else 0
        parts["learning"] = endpoint_cost(problem, groups).least()
    elif method != "quadrature":
        # Rivals measure as much as they need; the bound on them is the counter's.
        parts["method"] = profile if method in ("propagated", "quadrature_order") else 0
    return parts


def _budget(denoiser, K, named, solver, yardstick, batch) -> dict[str, Any]:
    """Errors, verdict and recommendation of one budget."""
    errors = {n: squared_errors(denoiser, s, solver, yardstick, batch) for n, s in named.items()}
    rows = compare(errors, "yours", yardstick.error)
    details = named["yours"].provenance.get("details", {})
    converged = bool(details.get("converged", True))
    verdict = str(details.get("verdict", "nothing was learned"))
    if details.get("start") and not details.get("improved", True):
        verdict += f" ({details['start']})"
    mine = rows[0]["rmse"]
    if mine is None:
        converged, verdict = False, "the solver diverges on it"
    elif mine <= max(3 * yardstick.error, 1e-12):
        converged = False
        verdict = f"its error {mine:.2g} is at the reference's own error {yardstick.error:.2g}"
    return {
        "calls": nfe(solver, K),
        "rows": rows,
        "converged": converged,
        "verdict": verdict,
        "recommended": winner(rows, "yours", converged),
    }


def _closed_form(problem: Problem) -> Any:
    try:
        return solve_with("quadrature", problem)
    except ArtRLError:  # e.g. straight trajectories: then there is no such row
        return None


@torch.no_grad()
def _speed(denoiser: Denoiser, sigma_max: float, batch: int) -> float:
    """Evaluations per second in batches as they will be used."""
    x = noise_at(denoiser, sigma_max, min(batch, 64))
    sigma = torch.tensor(sigma_max, dtype=torch.float64)
    denoiser(x, sigma)
    began, calls = time.perf_counter(), 0
    while calls < 3 or (time.perf_counter() - began < 0.3 and calls < 50):
        denoiser(x, sigma)
        calls += 1
    return calls * len(x) / max(time.perf_counter() - began, 1e-9)


def _states(
    denoiser: Denoiser, x: Tensor | None, sigma_max: float, evaluations: int, seed: int
) -> Tensor:
    """Starting states, (n, *shape) float64: as many as the evaluations allow, of ``x`` if given."""
    total = int(_REFERENCE_SHARE * evaluations / _CALLS_PER_REFERENCE)
    total = min(max(total, 3 * _FEWEST), _MOST_STATES)
    if x is None:
        first = seed * 1_000_003
        return noise_at(denoiser, sigma_max, total, first)
    x = check_start(x, denoiser, sigma_max)
    if len(x) < 3 * _FEWEST:
        raise ArtRLError(
            f"x must hold at least {3 * _FEWEST} states (to learn on, to choose on, held out), "
            f"got {len(x)}"
        )
    return x[:total]


def _divided(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States to learn on, to choose on, and held out."""
    n, v = round(_TRAIN * len(x)), round(_VALID * len(x))
    return x[:n], x[n : n + v], x[n + v :]


def _check_numbers(minutes: float | None, evaluations: int | None, seed: int) -> None:
    if minutes is not None and evaluations is not None:
        raise ArtRLError("minutes and evaluations say the same thing: give one of them")
    if minutes is not None and not (isinstance(minutes, int | float) and 0 < minutes < math.inf):
        raise ArtRLError(f"minutes must be positive and finite, got {minutes!r}")
    for name, value, least in (("evaluations", evaluations, 1000), ("seed", seed, 0)):
        if value is not None:
            check_whole(name, value, least)
