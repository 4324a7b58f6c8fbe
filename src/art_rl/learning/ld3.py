"""LD3-style learning: back-propagation through the solver into its levels (2405.15506).

K + 1 parameters give the levels from sigma_max to sigma_min: shares p = softmax(xi), of which the
first has no effect, and

    lambda   lambda_k = lambda_0 + (lambda_K - lambda_0) sum_{1 <= n <= k} p_n / sum_{n >= 1} p_n
    time     the same in sigma, with p_K the first interval from sigma_max

with lambda = -log sigma.  The row "ld3_decoupled" also shifts the levels that the denoiser is told (the
formulas keep the first list, `art_rl.flow.solvers.decoupled`); shifts are clamped, both ends fixed.

The loss is the mean over samples of the squared distance per coordinate between the solver's end and
the reference's (the published one is LPIPS; L2 is an option of the published code).  Updates: RMSprop on
xi, plain gradient on the shifts (step size 0.1 / K), gradient norms clipped to 1.  A round begins from
the best parameters; after ``patience`` validations without improvement they return and the step size
falls.  The best validated parameters are the result.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.checks import check_budget, check_one_of
from art_rl.denoisers.base import Denoiser, DenoiserCall
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import nfe, run_levels
from art_rl.flow.solvers.decoupled import Decoupled
from art_rl.flow.trajectory import check_states
from art_rl.registry import LD3, LD3_DECOUPLED, LD3_ROWS
from art_rl.schedules.schedule import Schedule, check_positive_range
from art_rl.settings.references import least_steps, too_coarse
from art_rl.settings.rivals import LD3Settings

MODES = ("lambda", "time")

Trace = list[dict[str, Any]]

# A backward pass through the network counts as two evaluations.
BACKWARD = 2


def levels_of(xi: Tensor, sigma_max: float, sigma_min: float, mode: str = "lambda") -> Tensor:
    """(K + 1,) levels from parameters (K + 1,), differentiable, ends sigma_max and sigma_min."""
    check_one_of("mode", mode, MODES)
    cumulated = torch.cumsum(torch.softmax(xi, 0), 0)
    position = (cumulated - cumulated[0]) / (cumulated[-1] - cumulated[0])
    if mode == "time":
        return sigma_min + (sigma_max - sigma_min) * position.flip(0)
    low, high = (-torch.log(torch.tensor(s, dtype=xi.dtype)) for s in (sigma_max, sigma_min))
    return torch.exp(-(low + (high - low) * position))


def network_levels(
    levels: Tensor, shifts: Tensor, xi: Tensor, mode: str = "lambda", window: float = 0.5
) -> Tensor:
    """(K + 1,) levels that the denoiser is told: shifted in lambda or in sigma, both ends fixed.

    Shifts (K + 1,) are clamped to ``window`` times the smallest gap between neighbouring levels (mode
    "time") or between neighbouring raw parameters xi (mode "lambda", as the published code does).
    """
    gaps = levels[:-1] - levels[1:] if mode == "time" else (xi[1:] - xi[:-1]).abs()
    bound = float(window * gaps.detach().min())
    inner = torch.ones_like(shifts)
    inner[0] = inner[-1] = 0.0
    moves = inner * shifts.clamp(-bound, bound)
    return levels + moves if mode == "time" else levels * torch.exp(-moves)


def end_of(
    denoiser: Denoiser,
    x: Tensor,
    levels: Tensor,
    solver: str,
    told: Tensor | None = None,
    class_labels: Tensor | None = None,
) -> Tensor:
    """Where ``solver`` ends from ``x`` (B, *shape) on ``levels`` (K + 1,), differentiable in both."""
    model: DenoiserCall = denoiser
    if told is not None:
        model = Decoupled(denoiser, levels, told, solver)
    end = x
    for state in run_levels(model, x, levels, solver, class_labels):
        end = state
    return end


def squared_error(end: Tensor, target: Tensor) -> Tensor:
    """Mean over samples and coordinates of (end - target)^2."""
    return (end - target).square().mean()


class Descent:
    """Parameters, optimisers and the best so far; `step` is one gradient step and its validation.

    Args:
        loss: (xi, shifts, data) -> loss; data is "train" or "valid".
        K: steps of the schedule.
        settings: of the run.
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor, str], Tensor], K: int, settings: LD3Settings
    ) -> None:
        self.loss, self.settings = loss, settings
        self.xi = torch.ones(K + 1, dtype=torch.float64, requires_grad=True)
        self.shifts = torch.zeros(K + 1, dtype=torch.float64, requires_grad=True)
        self.levels_rule = torch.optim.RMSprop(
            [self.xi], lr=settings.rate, momentum=settings.momentum
        )
        self.shifts_rule = torch.optim.SGD([self.shifts], lr=0.1 / K)
        self.best, self.kept, self.worse = float("inf"), (self.xi.detach().clone(),) * 2, 0

    def restore(self) -> None:
        """Go back to the best parameters; optimiser states stay, as published."""
        with torch.no_grad():
            self.xi.copy_(self.kept[0])
            self.shifts.copy_(self.kept[1])
        self.worse = 0

    def validate(self) -> float:
        """Validation loss; remembers the parameters if it is the lowest, counts otherwise."""
        with torch.no_grad():
            value = float(self.loss(self.xi, self.shifts, "valid"))
        if value < self.best:
            self.best, self.worse = value, 0
            self.kept = (self.xi.detach().clone(), self.shifts.detach().clone())
        else:
            self.worse += 1
        if self.worse >= self.settings.patience:
            self.restore()
            for rule in (self.levels_rule, self.shifts_rule):
                rate = rule.param_groups[0]["lr"] * self.settings.decay
                rule.param_groups[0]["lr"] = max(rate, self.settings.smallest_rate)
        return value

    def step(self, shifts_too: bool) -> tuple[float, float]:
        """(training loss before, validation loss after) one gradient step.

        Raises:
            ArtRLError: the loss is not finite.
        """
        self.shifts.requires_grad_(shifts_too)
        self.levels_rule.zero_grad()
        self.shifts_rule.zero_grad()
        loss = self.loss(self.xi, self.shifts, "train")
        if not torch.isfinite(loss):
            raise ArtRLError("the loss of LD3 is not finite: the solver diverges on its levels")
        loss.backward()
        torch.nn.utils.clip_grad_norm_([self.xi], 1.0)
        self.levels_rule.step()
        if shifts_too and self.shifts.grad is not None:
            torch.nn.utils.clip_grad_norm_([self.shifts], 1.0)
            self.shifts_rule.step()
        return float(loss.detach()), self.validate()


def learn_ld3(
    denoiser: Denoiser,
    x_start: Tensor,
    sigma_max: float,
    sigma_min: float,
    solver: str,
    budgets: list[int],
    settings: LD3Settings,
    class_labels: Tensor | None = None,
    model: str | None = None,
    progress: bool = True,
    method: str = LD3,
) -> dict[int, tuple[Schedule, Trace]]:
    """One schedule per budget.  The last level of the student is 0, as in every sampler here.

    Args:
        denoiser: the model, differentiable in x and sigma.
        x_start: (train + valid, *shape) float64 states at sigma_max, training states first.
        sigma_max, sigma_min: range in data units, 0 < sigma_min < sigma_max.
        solver: a key of SOLVERS.
        budgets: values of K.
        settings: sizes and rates.
        class_labels: None or one-hot (train + valid, label_dim).
        method: "ld3", or "ld3_decoupled": the last ``settings.shift_rounds`` rounds also move the levels
            that the network is told (`Schedule.network_levels`).

    Returns:
        K -> (schedule, trace: a row per gradient step, {evaluations, loss, valid, best}: network evaluations
        spent after it, the reference's included, a backward pass counting two; training loss before it;
        validation loss after it, and the lowest so far).

    Raises:
        ArtRLError: bad states, range or solver; a loss that is not finite.
    """
    check_positive_range(sigma_min, sigma_max, "LD3")
    check_one_of("method", method, LD3_ROWS)
    x_start = check_states(denoiser, x_start, class_labels)
    if len(x_start) != settings.train + settings.valid:
        raise ArtRLError(
            f"x_start must have train + valid = {settings.train + settings.valid} states, "
            f"got {len(x_start)}"
        )
    for K in budgets:
        if too_coarse(solver, check_budget(K), settings.reference_steps):
            raise ArtRLError(
                f"reference_steps must be at least {least_steps(solver, K)} for K = {K} with {solver}, got "
                f"{settings.reference_steps}: the solution to meet would be no finer than its own"
            )
    steps = settings.reference_steps
    reference = reference_solution(
        denoiser, x_start, sigma_max, class_labels, steps, sigma_min, check=0
    )
    data = {}
    for part, rows in (("train", slice(settings.train)), ("valid", slice(settings.train, None))):
        labels = None if class_labels is None else class_labels[rows]
        data[part] = (x_start[rows], reference.end[rows], labels)
    span, spent = (sigma_max, sigma_min), reference.evaluations
    return {
        K: _learn_one(denoiser, data, span, solver, K, settings, spent, model, progress, method)
        for K in budgets
    }


def _learn_one(
    denoiser, data, span, solver, K, settings, spent, model, progress, method
) -> tuple[Schedule, Trace]:
    """The schedule of one K; ``data``: part -> (states, reference ends, labels)."""
    last = torch.cat([torch.ones(K), torch.zeros(1)]).double()
    sigma_max, sigma_min = span
    shifting = min(settings.shift_rounds, settings.rounds) if method == LD3_DECOUPLED else 0
    rounds = [False] * (settings.rounds - shifting) + [True] * shifting

    def both(xi: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor | None]:
        levels = levels_of(xi, sigma_max, sigma_min, settings.mode)
        if not shifting:
            return levels * last, None
        return levels * last, network_levels(levels, shifts, xi, settings.mode, settings.window)

    def loss(xi: Tensor, shifts: Tensor, part: str) -> Tensor:
        x, target, labels = data[part]
        levels, told = both(xi, shifts)
        if not (levels[1:] < levels[:-1]).all():
            return torch.tensor(float("inf"))
        return squared_error(end_of(denoiser, x, levels, solver, told, labels), target)

    descent, calls = Descent(loss, K, settings), nfe(solver, K)
    trace: Trace = []
    spent += settings.valid * calls
    descent.validate()
    per_step = settings.train * calls * (1 + BACKWARD) + settings.valid * calls
    for number, shifts_too in enumerate(
        tqdm(
            rounds if K > 1 else [],
            desc=f"{method} {solver} K={K}",
            disable=not progress,
            leave=False,
        )
    ):
        if number:
            descent.restore()
        for _ in range(settings.steps):
            before, after = descent.step(shifts_too)
            spent += per_step
            losses = {"loss": before, "valid": after, "best": descent.best}
            trace.append({"evaluations": spent, **losses})
    levels, told = both(*descent.kept)
    sigmas = levels.tolist()
    sigmas[0], sigmas[-1] = sigma_max, 0.0
    near = (row["evaluations"] for row in trace if row["best"] <= 1.01**2 * descent.best)
    details = {
        "evaluations": spent,
        "evaluations_to_1_percent": next(near, spent),
        "valid_rmse": descent.best**0.5,
        "steps": len(trace),
        "network_levels": None if told is None else told.tolist(),
    }
    schedule = Schedule.found(
        sigmas,
        method,
        details,
        solver,
        model,
        denoiser.digest,
        settings.seed,
        settings.digest,
    )
    return schedule, trace
