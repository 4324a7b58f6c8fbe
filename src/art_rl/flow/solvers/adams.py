"""Adams-Bashforth in sigma: extrapolate the slope d = (x - D) / sigma from the newest evaluations.

    x_{n+1} = x_n + sum_j w_j d_{n-j}

`Ipndm` uses the weights of equal steps whatever the levels are (Zhang and Chen 2023, arXiv 2204.13902,
iPNDM; Liu et al. 2022, arXiv 2202.09778), times h_n: that is what the field runs under this name, and
it is of order 2 for any number of points once steps differ.  `AdamsBashforth` integrates the
interpolating polynomial over the actual levels (LMS in k-diffusion): order m with m points.  Both start
with fewer points and take the step to sigma = 0 with their own formula.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, drift
from art_rl.flow.solvers.base import History, choose, coincide, combine, lagrange

# Weights of h d_n, h d_{n-1}, ... for equal steps h.
EQUAL_STEPS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
# Two points integrate the cubic polynomials of four nodes exactly.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(2)


@dataclass(frozen=True)
class Ipndm:
    """iPNDM with up to ``points`` slopes (1 to 4); 1 call."""

    points: int

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
    ) -> Tensor:
        """One step: x (B, *shape) at sigma to the state at sigma_next."""
        history.remember(sigma, drift(denoiser, x, sigma), self.points)
        weights = EQUAL_STEPS[len(history.values)]
        slope = sum(w * d for w, d in zip(weights, history.values, strict=True))
        return x + (sigma_next - sigma) * slope


def adams_bashforth_weights(sigma_next: Tensor, *sigmas: Tensor) -> list[Tensor]:
    """Integrals from sigmas[0] to ``sigma_next`` of the Lagrange polynomials on ``sigmas`` (1 to 4 levels).

    Args:
        sigma_next, sigmas: float64, all () or all (N,); ``sigmas`` newest (smallest) first.

    Returns:
        one weight per level, their shape; the Euler step's where levels coincide.
    """
    h = sigma_next - sigmas[0]
    if len(sigmas) == 1:
        return [h]
    share = torch.as_tensor((_NODES + 1) / 2, dtype=h.dtype, device=h.device)
    weights = torch.as_tensor(_WEIGHTS / 2, dtype=h.dtype, device=h.device)
    at = sigmas[0][..., None] + h[..., None] * share
    full = [h * (basis * weights).sum(-1) for basis in lagrange(sigmas, at)]
    return choose(coincide(sigmas), [h], full)


@dataclass(frozen=True)
class AdamsBashforth:
    """Variable-step Adams-Bashforth with up to ``points`` slopes (1 to 4); 1 call.

    ``weights`` are the integrals of the interpolating polynomials; DEIS has others (`deis.Deis`).
    """

    points: int
    weights = staticmethod(adams_bashforth_weights)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
    ) -> Tensor:
        """One step: x (B, *shape) at sigma to the state at sigma_next."""
        history.remember(sigma, drift(denoiser, x, sigma), self.points)
        levels = [sigma_next, *history.sigmas]
        return x + combine(self.weights, levels, history.values, history.copies)
