"""Reference solution of the probability-flow ODE: what a sampler would return with a vast budget.

The endpoint error of a schedule is measured against it, from the same starting states.  Classical RK4
on EDM's grid (rho = 7) from sigma_max to sigma_min, then one Euler step to 0 as single-step solvers
take.  Between its levels the solution is read off by cubic Hermite interpolation of states and
slopes, on the last interval linearly (which is what that Euler step means).

Accuracy is measured, not assumed: step doubling on part of the batch (every interval halved, the
last one too).  On the exact models of config/config.yaml, 64 steps reach 1e-5 RMS, the share of the
last Euler step from sigma_min = 0.002; on [sigma_min, sigma_max] alone they reach 1e-6 to 2e-5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor

from art_rl.checks import check_budget
from art_rl.denoisers.base import Denoiser, Labelled, drift
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import SOLVERS, check_single_step, nfe, solve
from art_rl.schedules.hand_made import edm
from art_rl.schedules.schedule import Schedule, check_sigma_range


@dataclass(frozen=True)
class Reference:
    """A fine solution from B starting states.

    Attributes:
        sigmas: (M + 1,) levels, float64, decreasing from sigma_max to 0.
        states: (M + 1, B, *shape) states at ``sigmas``, in the dtype of the starting states.
        slopes: (M + 1, B, *shape) dx/dsigma at ``sigmas``; at 0 the slope of the last Euler step.
        error: RMS over samples and coordinates of the change of the endpoint under step doubling
            (data units), or None if it was not measured.
        evaluations: network evaluations it took, one per state and call, the check's included.
    """

    sigmas: Tensor
    states: Tensor
    slopes: Tensor
    error: float | None
    evaluations: int

    @property
    def end(self) -> Tensor:
        """(B, *shape) solution at sigma = 0."""
        return self.states[-1]

    def at(self, sigmas: Sequence[float] | Tensor) -> Tensor:
        """States at any levels.

        Args:
            sigmas: (n,) levels within [0, sigma_max], any order.

        Returns:
            (n, B, *shape) in the dtype of the states; exact at the solution's own levels.

        Raises:
            ArtRLError: a level outside [0, sigma_max].
        """
        levels = torch.as_tensor(sigmas, dtype=torch.float64, device=self.sigmas.device)
        outside = ~((levels >= 0) & (levels <= self.sigmas[0]))
        if outside.any():
            raise ArtRLError(
                f"sigmas must lie in [0, {float(self.sigmas[0])}], the range of the reference "
                f"solution, got {float(levels[outside][0])}"
            )
        ascending = self.sigmas.flip(0)
        last = len(self.sigmas) - 2
        cell = last - (torch.searchsorted(ascending, levels, right=True) - 1).clamp(0, last)
        high, low = self.sigmas[cell], self.sigmas[cell + 1]
        width = low - high
        share = (levels - high) / width
        rest = 1 - share
        # Cubic Hermite, as weights of the states and slopes at both ends: each is read once.
        terms = (
            (rest * (1 + share * (rest - share)), self.states, cell),
            (share * (1 + rest * (share - rest)), self.states, cell + 1),
            (share * rest * rest * width, self.slopes, cell),
            (-share * share * rest * width, self.slopes, cell + 1),
        )
        shape = (-1, *[1] * (self.states.ndim - 1))
        parts = (
            table.index_select(0, row).mul_(weight.to(table.dtype).reshape(shape))
            for weight, table, row in terms
        )
        return reduce(Tensor.add_, parts)


def reference_solution(
    denoiser: Denoiser,
    x: Tensor,
    sigma_max: float,
    class_labels: Tensor | None = None,
    steps: int = 64,
    sigma_min: float = 0.002,
    solver: str = "rk4",
    check: int = 64,
) -> Reference:
    """Fine solution from the states ``x`` at level ``sigma_max``.

    Args:
        x: (B, *shape), float64 by convention; float32 halves the memory, (steps + 1) B states are kept.
        sigma_max: level of ``x``, data units.
        class_labels: None or one-hot (B, label_dim).
        steps: solver steps, >= 2; 64 rk4 steps cost 253 calls per state.
        sigma_min: last level above 0; for networks not below the range they were trained for.
        solver: a single-step one; "heun" is cheaper where 1e-3 is accurate enough.
        check: number of states on which step doubling is measured (3 times the calls per state);
            0 switches it off.

    Returns:
        Reference; use ``.end`` for the endpoint and ``.at(levels)`` for the trajectory.

    Raises:
        ArtRLError: bad range, steps or solver; the solution is not finite.
    """
    check_sigma_range(sigma_min, sigma_max)
    if check_budget(steps) < 2:
        raise ArtRLError(f"steps of a reference solution must be at least 2, got {steps}")
    take = SOLVERS[check_single_step(solver)]
    schedule = Schedule(tuple(edm(steps, sigma_max, sigma_min)))
    levels = torch.tensor(schedule.sigmas, dtype=x.dtype, device=x.device)
    states, slopes, model = [x], [], Labelled(denoiser, class_labels)
    with torch.no_grad():
        for k in range(steps):
            # The step repeats this first slope; one call in steps is the price of a plain solver.
            slopes.append(drift(model, states[-1], levels[k]))
            if k < steps - 1:
                states.append(take(model, states[-1], levels[k], levels[k + 1]))
        states.append(states[-1] + (levels[-1] - levels[-2]) * slopes[-1])
        slopes.append(slopes[-1])
        error = None
        if check > 0:
            part = slice(0, check)
            labels = None if class_labels is None else class_labels[part]
            finer = Schedule(_halved(schedule.sigmas))
            twice = solve(denoiser, x[part], finer, solver, labels)
            error = float((twice - states[-1][part]).square().mean().sqrt())
    if not torch.isfinite(states[-1]).all():
        raise ArtRLError(
            f"the reference solution is not finite with {steps} {solver} steps; raise steps"
        )
    sigmas = torch.tensor(schedule.sigmas, dtype=torch.float64, device=x.device)
    spent = len(x) * (nfe(solver, steps) + steps - 1) + min(check, len(x)) * nfe(solver, 2 * steps)
    return Reference(sigmas, torch.stack(states), torch.stack(slopes), error, spent)


def _halved(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Levels with one more in every interval: the geometric middle, half the last level in the last."""
    finer = [sigmas[0]]
    for high, low in pairwise(sigmas):
        finer += [(high * low) ** 0.5 if low > 0 else high / 2, low]
    return tuple(finer)
