"""A solver that chooses its levels itself: Dormand-Prince 5(4) with error control (SciPy's RK45).

The batch is one system: a step is accepted if the root mean square over all states and coordinates of
(estimated error) / (atol + rtol |x|) is below 1, so every state has the same number of calls, as a
sampler of images has.  From sigma_max to sigma_min; the step to 0 is an Euler step, as elsewhere.  The
number of calls is an outcome, not a setting: tables of equal NFE cannot hold this solver, its points
(`adaptive_points`) lie beside their curves.

Dormand and Prince 1980; the probability-flow ODE with such a solver: Song et al. 2021, arXiv 2011.13456.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, Labelled, drift
from art_rl.errors import ArtRLError
from art_rl.flow.solvers.single_step import euler_step
from art_rl.schedules.schedule import check_sigma_range

# Tolerances of the points drawn beside fixed-step curves; atol = rtol, in data units.
TOLERANCES = (0.3, 0.1, 3e-2, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class AdaptiveSolution:
    """What the adaptive solver found, and what it cost.

    Attributes:
        end: (B, *shape) float64 states at sigma = 0.
        nfe: network calls, rejected steps, the choice of the first step and the last step included.
        sigmas: levels of the accepted steps, sigma_max first, 0 last.
        rejected: steps taken again with a smaller length.
    """

    end: Tensor
    nfe: int
    sigmas: tuple[float, ...]
    rejected: int


@torch.no_grad()
def solve_adaptive(
    denoiser: Denoiser,
    x: Tensor,
    sigma_max: float,
    sigma_min: float,
    rtol: float,
    atol: float | None = None,
    class_labels: Tensor | None = None,
) -> AdaptiveSolution:
    """Integrate from ``sigma_max`` to 0 with error control.

    Args:
        denoiser: the model.
        x: (B, *shape) states at ``sigma_max``; computed in float64 whatever the dtype.
        sigma_max, sigma_min: 0 < sigma_min < sigma_max, data units; the last step starts at sigma_min.
        rtol: relative tolerance of a step, 2e-14 < rtol < 1 (below, SciPy raises it).
        atol: absolute tolerance in data units; rtol if None.
        class_labels: None or one-hot (B, label_dim).

    Raises:
        ArtRLError: bad range or tolerances; states that are not finite; the step length vanishes.
    """
    check_sigma_range(sigma_min, sigma_max)
    atol = rtol if atol is None else atol
    if not (2.3e-14 < rtol < 1 and 0 < atol < math.inf and sigma_min > 0):
        raise ArtRLError(
            "rtol must lie between 2.3e-14 and 1, atol and sigma_min above 0, got "
            f"rtol = {rtol}, atol = {atol}, sigma_min = {sigma_min}"
        )
    if not torch.isfinite(x).all():
        raise ArtRLError("x must be finite: the step length would vanish")
    states = x.double()
    calls = 0

    def slope(sigma: float, flat: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        here = torch.from_numpy(flat).to(states.device).reshape(states.shape)
        level = torch.tensor(sigma, dtype=torch.float64, device=states.device)
        return drift(denoiser, here, level, class_labels).flatten().cpu().numpy()

    found = scipy.integrate.solve_ivp(
        slope,
        (float(sigma_max), float(sigma_min)),
        states.flatten().cpu().numpy(),
        method="RK45",
        rtol=rtol,
        atol=atol,
    )
    near = torch.from_numpy(found.y[:, -1].copy()).to(states.device).reshape(states.shape)
    if not found.success or not torch.isfinite(near).all():
        raise ArtRLError(
            f"the adaptive solver stopped at sigma = {found.t[-1]:.6g} ({found.message}); "
            "raise rtol or sigma_min"
        )
    last = torch.tensor(float(sigma_min), dtype=torch.float64, device=states.device)
    end = euler_step(Labelled(denoiser, class_labels), near, last, torch.zeros_like(last))
    steps = len(found.t) - 1
    # Two calls begin (the first slope, the choice of the first step), six belong to every try.
    return AdaptiveSolution(end, calls + 1, (*found.t.tolist(), 0.0), (calls - 2) // 6 - steps)


def adaptive_points(
    denoiser: Denoiser,
    x: Tensor,
    end: Tensor,
    sigma_max: float,
    sigma_min: float,
    class_labels: Tensor | None = None,
    tolerances: Sequence[float] = TOLERANCES,
) -> list[dict[str, Any]]:
    """Endpoint error and measured calls per tolerance, one row each.

    Args:
        x: (B, *shape) states at ``sigma_max``.
        end: (B, *shape) reference endpoints of the same states.
        tolerances: values of rtol = atol.

    Returns:
        rows {solver, rtol, nfe, steps, rejected, samples, rmse}.
    """
    rows = []
    for rtol in tolerances:
        found = solve_adaptive(denoiser, x, sigma_max, sigma_min, rtol, None, class_labels)
        rows.append(
            {
                "solver": "dopri5",
                "rtol": rtol,
                "nfe": found.nfe,
                "steps": len(found.sigmas) - 1,
                "rejected": found.rejected,
                "samples": len(x),
                "rmse": float((found.end - end).square().mean().sqrt()),
            }
        )
    return rows
