"""DPM-Solver++ multistep (Lu et al. 2022, arXiv 2211.01095) in EDM coordinates.

With lambda = -log sigma and h = lambda_{n+1} - lambda_n the ODE's exact solution is

    x_{n+1} = (sigma_{n+1} / sigma_n) x_n + int_0^h exp(s - h) D ds,

D being extrapolated in lambda from the newest evaluations: 2M linearly (Alg. 2), 3M quadratically.  As
released, 3M takes the second divided difference of D times h^2 for h^2 D'', which is twice as large: every
code of the field has this, it makes 3M a method of order 2, and `third_order` False is it.
``third_order`` True doubles the term: order 3.

``lower_final``: the last step of the list is of first order (to sigma = 0 it is an Euler step), for 3M
the last but one of second order.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.flow.solvers.base import (
    SMALLEST_GAP,
    History,
    choose,
    coincide,
    combine,
    evaluate,
)


@dataclass(frozen=True)
class DpmSolverPP:
    """DPM-Solver++ with up to ``points`` denoised states (2 or 3); 1 call."""

    points: int
    third_order: bool = False
    lower_final: bool = True

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
    ) -> Tensor:
        """One step: x (B, *shape) at sigma to the state at sigma_next."""
        history.remember(sigma, evaluate(denoiser, x, sigma), self.points)
        order = history.order(self.points, self.lower_final)
        levels = [sigma_next, *history.sigmas[:order]]
        values = [x, *history.values[:order]]
        return combine(self.weights, levels, values, history.copies)

    def weights(self, sigma_next: Tensor, *sigmas: Tensor) -> list[Tensor]:
        """Weights of x and of the denoised states at ``sigmas``, newest first.

        Args:
            sigma_next, sigmas: float64, all () or all (N,); ``sigma_next`` = 0 for one level only.

        Returns:
            1 + len(sigmas) weights, their shape; the first-order step's where levels coincide.
        """
        ratio = sigma_next / sigmas[0]
        first = [ratio, 1 - ratio]
        if len(sigmas) == 1:
            return first
        lambdas = [-torch.log(sigma) for sigma in sigmas]
        h = -torch.log(sigma_next) - lambdas[0]
        r = [(a - b) / h for a, b in pairwise(lambdas)]
        close = coincide(sigmas) | (h <= SMALLEST_GAP)
        if len(sigmas) == 2:
            second = (1 - ratio) / (2 * r[0])
            return choose(close, first, [ratio, 1 - ratio + second, -second])
        phi_1 = ratio - 1  # expm1(-h)
        phi_2 = phi_1 / h + 1
        phi_3 = (phi_2 / h - 1 / 2) * (2 if self.third_order else 1)
        # Coefficients of the divided differences over the newest step and over the one before.
        newest = phi_2 * (1 + r[0] / (r[0] + r[1])) - phi_3 / (r[0] + r[1])
        before = phi_2 - newest
        full = [
            ratio,
            newest / r[0] - phi_1,
            before / r[1] - newest / r[0],
            -before / r[1],
        ]
        return choose(close, first, full)
