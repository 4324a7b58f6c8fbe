"""Reference solution of the probability-flow ODE: what a sampler would return with a vast budget.

The endpoint error of a schedule is measured against it, from the same starting states.  Classical RK4
on EDM's grid (rho = 7) from sigma_max to sigma_min, then one Euler step to 0 as single-step solvers
take.

Accuracy is measured, not assumed: step doubling on part of the batch (every interval halved, the
last one too).  On the exact models of config/config.yaml, 64 steps reach 1e-5 RMS, the share of the
last Euler step from sigma_min = 0.002; on [sigma_min, sigma_max] alone they reach 1e-6 to 2e-5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from art_rl.checks import check_budget
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import check_single_step, nfe, solve
from art_rl.schedules.hand_made import edm
from art_rl.schedules.schedule import Schedule, check_sigma_range


@dataclass(frozen=True)
class Reference:
    """Where a fine solution ends.

    Attributes:
        end: (B, *shape) solution at sigma = 0, in the dtype of the starting states.
        error: RMS over samples and coordinates of the change of the endpoint under step doubling
            (data units), or None if it was not measured.
        evaluations: network evaluations it took, one per state and call, the check's included.
    """

    end: Tensor
    error: float | None
    evaluations: int


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
        x: (B, *shape), float64 by convention.
        sigma_max: level of ``x``, data units.
        class_labels: None or one-hot (B, label_dim).
        steps: solver steps, >= 2; 64 rk4 steps cost 253 calls per state.
        sigma_min: last level above 0; for networks not below the range they were trained for.
        solver: a single-step one; "heun" is cheaper where 1e-3 is accurate enough.
        check: number of states on which step doubling is measured (3 times the calls per state);
            0 switches it off.

    Raises:
        ArtRLError: bad range, steps or solver; the solution is not finite.
    """
    check_sigma_range(sigma_min, sigma_max)
    if check_budget(steps) < 2:
        raise ArtRLError(f"steps of a reference solution must be at least 2, got {steps}")
    check_single_step(solver)
    schedule, error = Schedule(tuple(edm(steps, sigma_max, sigma_min))), None
    with torch.no_grad():
        end = solve(denoiser, x, schedule, solver, class_labels)
        if check > 0:
            part = slice(0, check)
            labels = None if class_labels is None else class_labels[part]
            twice = solve(denoiser, x[part], Schedule(_halved(schedule.sigmas)), solver, labels)
            error = float((twice - end[part]).square().mean().sqrt())
    if not torch.isfinite(end).all():
        raise ArtRLError(
            f"the reference solution is not finite with {steps} {solver} steps; raise steps"
        )
    spent = len(x) * nfe(solver, steps) + min(check, len(x)) * nfe(solver, 2 * steps)
    return Reference(end, error, spent)


def _halved(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Levels with one more in every interval: the geometric middle, half the last level in the last."""
    finer = [sigmas[0]]
    for high, low in pairwise(sigmas):
        finer += [(high * low) ** 0.5 if low > 0 else high / 2, low]
    return tuple(finer)
