"""UniPC, variant bh2, predicting denoised states (Zhao et al. 2023, arXiv 2302.04867) in EDM coordinates.

With lambda = -log sigma, h = lambda_{n+1} - lambda_n, B = expm1(-h) and r_i = (lambda_{n-i} - lambda_n) / h,

    predictor   x' = (sigma_{n+1} / sigma_n) x_n - B D_n - B sum_i p_i (D_{n-i} - D_n) / r_i
    corrector   the same with one more term, c (D' - D_n), D' = D(x'; sigma_{n+1})

The p_i and c solve sum_i p_i r_i^(j-1) = b_j (alg. 5 to 8 there; the predictor of two points has
p = 1/2 fixed, the corrector of one point c = 1/2).  D' serves the next step, although x_{n+1} is the
corrected state: one call a step.  A run makes its first call at the first level, then one at the end
of every step but the last, which is not corrected: K calls for K steps.  ``points`` is the number in the
name; the corrector makes the order one higher.  ``lower_final``: the last step is of one point, the last
but one of two.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.flow.solvers.base import SMALLEST_GAP, History, choose, coincide, combine, evaluate


@dataclass(frozen=True)
class UniPC:
    """UniPC-``points`` (2 or 3); 1 call a step on average over a run."""

    points: int
    lower_final: bool = True

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
    ) -> Tensor:
        """One step: x (B, *shape) at sigma to the state at sigma_next."""
        if not history.values:
            history.remember(sigma, evaluate(denoiser, x, sigma), self.points)
        order = history.order(self.points, self.lower_final)
        levels = [sigma_next, *history.sigmas[:order]]
        values = [x, *history.values[:order]]
        predicted = combine(predictor_weights, levels, values, history.copies)
        if history.left == 0:
            return predicted
        new = evaluate(denoiser, predicted, sigma_next)
        corrected = combine(corrector_weights, levels, [*values, new], history.copies)
        history.remember(sigma_next, new, self.points)
        return corrected


def predictor_weights(sigma_next: Tensor, *sigmas: Tensor) -> list[Tensor]:
    """Weights of x_n and of the denoised states at ``sigmas``, newest first.

    Args:
        sigma_next, sigmas: float64, all () or all (N,); ``sigma_next`` = 0 for one level only.

    Returns:
        1 + len(sigmas) weights, their shape; the first-order step's where levels coincide.
    """
    ratio = sigma_next / sigmas[0]
    first = [ratio, 1 - ratio]
    if len(sigmas) == 1:
        return first
    h, r, close = _steps(sigma_next, sigmas)
    p = [torch.full_like(h, 0.5)] if len(r) == 1 else _coefficients(h, r)
    return choose(close, first, _combined(ratio, r, p))


def corrector_weights(sigma_next: Tensor, *sigmas: Tensor) -> list[Tensor]:
    """`predictor_weights` with one more weight at the end, of the denoised state at ``sigma_next`` > 0."""
    ratio = sigma_next / sigmas[0]
    half = (1 - ratio) / 2
    if len(sigmas) == 1:
        return [ratio, half, half]
    h, r, close = _steps(sigma_next, sigmas)
    one = torch.ones_like(h)
    full = _combined(ratio, [*r, one], _coefficients(h, [*r, one]))
    return choose(close, [ratio, 1 - ratio], full)


def _steps(sigma_next: Tensor, sigmas: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor], Tensor]:
    """h, the r_i, and where levels coincide; there both are replaced by harmless values."""
    lambdas = [-torch.log(sigma) for sigma in sigmas]
    h = -torch.log(sigma_next) - lambdas[0]
    close = coincide(sigmas) | (h <= SMALLEST_GAP)
    h = torch.where(close, 1.0, h)
    r = [
        torch.where(close, -float(i), (older - lambdas[0]) / h)
        for i, older in enumerate(lambdas[1:], 1)
    ]
    return h, r, close


def _coefficients(h: Tensor, r: list[Tensor]) -> list[Tensor]:
    """The p of sum_i p_i r_i^(j-1) = b_j, j = 1..n, with b_j = j! phi_{j+1}(-h) (-h) / B."""
    first = torch.expm1(-h)
    phi, factorial, b = first / -h - 1, 1.0, []
    for j in range(1, len(r) + 1):
        b.append(phi * factorial / first)
        factorial *= j + 1
        phi = phi / -h - 1 / factorial
    nodes = torch.stack(r, -1)
    rows = torch.stack([nodes**j for j in range(len(r))], -2)
    return list(torch.linalg.solve(rows, torch.stack(b, -1)[..., None])[..., 0].unbind(-1))


def _combined(ratio: Tensor, r: list[Tensor], p: list[Tensor]) -> list[Tensor]:
    """Weights of x_n, D_n and the other denoised states from the coefficients of their differences."""
    others = [(1 - ratio) * coefficient / node for coefficient, node in zip(p, r, strict=True)]
    return [ratio, 1 - ratio - sum(others), *others]
