"""Solvers of the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma, one signature each.

    step(denoiser, x, sigma, sigma_next, class_labels) -> x at sigma_next

The last step, to sigma = 0, is always an Euler step (the slope at 0 is not defined for a network), so
K steps cost K (euler), 2K - 1 (heun) or 4K - 3 (rk4) network calls.  The state keeps its dtype
(float64 by convention); the denoiser may compute in another.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, drift
from art_rl.registry import ORDERS, STAGES, check_solver, nfe
from art_rl.schedules.schedule import Schedule

__all__ = [
    "ORDERS",
    "SOLVERS",
    "STAGES",
    "check_solver",
    "euler_step",
    "heun_step",
    "nfe",
    "rk4_step",
    "solve",
]

Step = Callable[[Denoiser, Tensor, Tensor, Tensor, Tensor | None], Tensor]


def euler_step(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    class_labels: Tensor | None = None,
) -> Tensor:
    """Euler (order 1), 1 call."""
    return x + (sigma_next - sigma) * drift(denoiser, x, sigma, class_labels)


def heun_step(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    class_labels: Tensor | None = None,
) -> Tensor:
    """Heun's trapezoidal rule (order 2), 2 calls (Karras et al. 2022, Alg. 1)."""
    h = sigma_next - sigma
    slope = drift(denoiser, x, sigma, class_labels)
    slope_next = drift(denoiser, x + h * slope, sigma_next, class_labels)
    return x + h * (slope + slope_next) / 2


def rk4_step(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    class_labels: Tensor | None = None,
) -> Tensor:
    """The classical Runge-Kutta method (order 4), 4 calls; midpoint level (sigma + sigma_next) / 2."""
    h = sigma_next - sigma
    middle = sigma + h / 2
    k1 = drift(denoiser, x, sigma, class_labels)
    k2 = drift(denoiser, x + h / 2 * k1, middle, class_labels)
    k3 = drift(denoiser, x + h / 2 * k2, middle, class_labels)
    k4 = drift(denoiser, x + h * k3, sigma_next, class_labels)
    return x + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6


SOLVERS: dict[str, Step] = {"euler": euler_step, "heun": heun_step, "rk4": rk4_step}


def solve(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    solver: str,
    class_labels: Tensor | None = None,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Integrate from the schedule's first level to 0.

    Args:
        denoiser: the model.
        x: (B, *shape) state at level schedule.sigma_max, i.e. sigma_max * noise for a wide range.
        schedule: levels; see Schedule.
        solver: a key of SOLVERS.
        class_labels: None or one-hot (B, label_dim).
        callback: called as callback(k, sigma_k, x_k) at every level, the last one (K, 0.0, x_K) included.

    Returns:
        (B, *shape) in x's dtype.

    Raises:
        ArtRLError: unknown solver.
    """
    step = SOLVERS[check_solver(solver)]
    levels = torch.tensor(schedule.sigmas, dtype=x.dtype, device=x.device)
    for k in range(schedule.K):
        if callback is not None:
            callback(k, schedule.sigmas[k], x)
        take = step if k < schedule.K - 1 else euler_step
        x = take(denoiser, x, levels[k], levels[k + 1], class_labels)
    if callback is not None:
        callback(schedule.K, 0.0, x)
    return x
