"""DEIS, tAB: the slope extrapolated as a polynomial in the time t of the VP process.

Zhang and Chen 2023, arXiv 2204.13902: the noise prediction, which in EDM coordinates is the slope
d = (x - D) / sigma, is interpolated in the time t of the VP process,

    log(1 + sigma^2) = beta_d t^2 / 2 + beta_0 t,

with beta_0, beta_d such that sigma(1) = 80 and sigma(1e-3) = 0.002 (EDM's noise range, whatever the list),
and the weights are exact integrals over sigma:

    x_{n+1} = x_n + sum_j w_j d_{n-j},    w_j = int l_j(t(sigma)) dsigma.

The published codes use Riemann sums of 10,000 terms; Gauss-Legendre in log sigma reaches rounding (the
integrand is analytic in a strip of half-width pi / 2).  tab3, the cubic one, has 4 points and order 4.
The time of sigma = 0 is no time of the process: the last step is an Euler step, as in the published runs.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from art_rl.flow.solvers.adams import AdamsBashforth
from art_rl.flow.solvers.base import choose, coincide, lagrange

_T_MIN, _SIGMA_MIN, _SIGMA_MAX = 1e-3, 0.002, 80.0


def _vp_constants() -> tuple[float, float]:
    """beta_0 and beta_d from the two conditions, a linear problem."""
    high, low = math.log1p(_SIGMA_MAX**2), math.log1p(_SIGMA_MIN**2)
    beta_d = 2 * (high - low / _T_MIN) / (1 - _T_MIN)
    return high - beta_d / 2, beta_d


BETA_0, BETA_D = _vp_constants()


def vp_time(sigma: Tensor) -> Tensor:
    """t of a level, any shape; sigma = 0.002 is at 1e-3, sigma = 80 at 1."""
    return (torch.sqrt(BETA_0**2 + 2 * BETA_D * torch.log1p(sigma**2)) - BETA_0) / BETA_D


@lru_cache(maxsize=1)
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """64 points on [0, 1]: 1e-15 even for one step over the whole of 80 .. 0.002."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return (nodes + 1) / 2, weights / 2


def deis_weights(sigma_next: Tensor, *sigmas: Tensor) -> list[Tensor]:
    """Integrals from sigmas[0] to ``sigma_next`` > 0 of the Lagrange polynomials in t on ``sigmas``.

    Args:
        sigma_next, sigmas: float64, all () or all (N,); ``sigmas`` newest (smallest) first.

    Returns:
        one weight per level, their shape; the Euler step's where two times coincide.
    """
    h = sigma_next - sigmas[0]
    if len(sigmas) == 1:
        return [h]
    share, weights = (torch.as_tensor(v, dtype=h.dtype, device=h.device) for v in _quadrature())
    span = torch.log(sigma_next) - torch.log(sigmas[0])
    at = sigmas[0][..., None] * torch.exp(span[..., None] * share)
    times = [vp_time(sigma) for sigma in sigmas]
    full = [span * (basis * at * weights).sum(-1) for basis in lagrange(times, vp_time(at))]
    return choose(coincide(times), [h], full)


class Deis(AdamsBashforth):
    """DEIS tAB with up to ``points`` slopes (tab3: 4); 1 call."""

    weights = staticmethod(deis_weights)
