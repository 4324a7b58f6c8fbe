"""Solvers without memory: Euler, Heun, the classical Runge-Kutta method."""

from torch import Tensor

from art_rl.denoisers.base import Denoiser, drift
from art_rl.flow.solvers.base import History


def euler_step(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History | None = None
) -> Tensor:
    """Euler (order 1), 1 call."""
    return x + (sigma_next - sigma) * drift(denoiser, x, sigma)


def heun_step(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History | None = None
) -> Tensor:
    """Heun's trapezoidal rule (order 2), 2 calls (Karras et al. 2022, Alg. 1)."""
    h = sigma_next - sigma
    slope = drift(denoiser, x, sigma)
    slope_next = drift(denoiser, x + h * slope, sigma_next)
    return x + h * (slope + slope_next) / 2


def rk4_step(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History | None = None
) -> Tensor:
    """The classical Runge-Kutta method (order 4), 4 calls; midpoint level (sigma + sigma_next) / 2."""
    h = sigma_next - sigma
    middle = sigma + h / 2
    k1 = drift(denoiser, x, sigma)
    k2 = drift(denoiser, x + h / 2 * k1, middle)
    k3 = drift(denoiser, x + h / 2 * k2, middle)
    k4 = drift(denoiser, x + h * k3, sigma_next)
    return x + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
