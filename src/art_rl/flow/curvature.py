"""|Q| along trajectories: three estimators, tested against each other.

Along the probability-flow ODE dx/dsigma = (x - D)/sigma the total derivative of the field is

    Q = d2x/dsigma2 = -(1/sigma) dD/dsigma      (D = D(x(sigma); sigma), along the trajectory)

which is 2601.18681's Q = dF/dx F + dF/dpsi in EDM coordinates (psi = sigma_max - sigma).  Estimators:

    jvp          dD/dsigma by forward-mode differentiation with tangent (dx/dsigma, 1): exact
    difference   one extra call a step eps * sigma further along the flow: bias of order eps
    rollout      centred differences of the D already computed at successive levels: free, of order
                 ``points - 1`` in the lattice step

Gaussian data of standard deviation c has |Q| = c^2 (c^2 + sigma^2)^(-3/2) |x_T| / sqrt(c^2 + sigma_max^2).
"""

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_known
from art_rl.denoisers.base import Denoiser, expand_sigma
from art_rl.errors import ArtRLError
from art_rl.flow.trajectory import Walk

ESTIMATORS = ("rollout", "difference", "jvp")
_ROLLOUT_POINTS = 7

Levels = TypeVar("Levels", Tensor, np.ndarray)


@torch.no_grad()
def jvp(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor | float,
    class_labels: Tensor | None = None,
    denoised: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """dx/dsigma and Q at (x, sigma) by forward-mode differentiation: exact.

    Args:
        x: (B, *shape) float64.
        sigma: () or (B,).
        denoised: D(x; sigma) if it is already known.

    Raises RuntimeError for networks with operations that have no forward-mode rule.
    """
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)

    def along(state: Tensor, s: Tensor) -> Tensor:
        return denoiser(state, s, class_labels).to(x.dtype)

    known = along(x, level) if denoised is None else denoised.to(x.dtype)
    slope = (x - known) / expand_sigma(level, x)
    change = torch.func.jvp(along, (x, level), (slope, torch.ones_like(level)))[1]
    return slope, -change / expand_sigma(level, x)


@torch.no_grad()
def difference(
    denoiser: Denoiser,
    x: Tensor,
    sigma: Tensor | float,
    class_labels: Tensor | None = None,
    denoised: Tensor | None = None,
    step: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same from one Euler step down the flow, to sigma (1 - step): one extra call.

    Faster than `jvp` for small models, and needs no forward-mode rule.

    Args:
        denoised: D(x; sigma) if it is already known.
        step: relative step, in (0, 1); default `difference_step` (the rounding of D is divided by the
            step, the bias is proportional to it).
    """
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if denoised is None:
        denoised = denoiser(x, level, class_labels)
    if step is not None and not 0 < step < 1:
        raise ArtRLError(f"step (relative step of the difference) must be in (0, 1), got {step}")
    if step is None:
        h = difference_step(level, denoised.dtype, denoiser.sigma_data) * level
    else:
        h = step * level
    denoised = denoised.to(x.dtype)
    slope = (x - denoised) / expand_sigma(level, x)
    moved = denoiser(x - expand_sigma(h, x) * slope, level - h, class_labels).to(x.dtype)
    return slope, (moved - denoised) / expand_sigma(h * level, x)


def difference_step(sigma: Levels, dtype: torch.dtype, sigma_data: float) -> Levels:
    """Relative step of the difference estimator, for a denoiser that answers in ``dtype``.

    0.02 below float64.  In float64 1e-4, more at levels far below the data's scale (up to 0.1), where the
    change of D along a step, sigma^2 x'', comes close to its rounding and Q hardly changes with sigma.
    """
    if dtype != torch.float64:
        return 0 * sigma + 0.02
    return (2e-8 * sigma_data / sigma).clip(1e-4, 0.1)


def rounding_matrix(
    levels: np.ndarray, estimator: str, dtype: torch.dtype, sigma_data: float
) -> np.ndarray:
    """(M, M) matrix from independent unit errors of D at the levels to the errors of the estimated Q.

    Args:
        levels: (M,) levels of the trajectories.
        estimator: one of ESTIMATORS (jvp: the rounding of the slope (x - D) / sigma, divided by sigma).
        dtype, sigma_data: of the denoiser's answers, and its scale of the data.
    """
    if estimator == "rollout":
        return derivative_matrix(levels, 1, _ROLLOUT_POINTS) / levels[:, None]
    if estimator == "jvp":
        return np.diag(1 / levels**2)
    return np.diag(np.sqrt(2) / (difference_step(levels, dtype, sigma_data) * levels**2))


def rollout(levels: np.ndarray, denoised: Tensor, points: int = _ROLLOUT_POINTS) -> Tensor:
    """Q at every level of a trajectory from the D computed there: no network call.

    Args:
        levels: (M,) positive, strictly decreasing, M >= points.
        denoised: (M, ...) D at those levels along one set of trajectories.
        points: neighbours used per level (one-sided near both ends, where the bias is largest).

    Returns:
        (M, ...) float64.
    """
    slopes = apply(derivative_matrix(levels, 1, points), denoised.double())
    scale = torch.as_tensor(np.array(levels), dtype=torch.float64, device=denoised.device)
    return -slopes / scale.reshape((-1,) + (1,) * (denoised.ndim - 1))


def derivative_matrix(levels: np.ndarray, order: int, points: int) -> np.ndarray:
    """(M, M) matrix of finite-difference weights: row k differentiates at levels[k].

    Each row uses the ``points`` nearest nodes (one-sided near the ends) and is exact for polynomials
    of degree < points.
    """
    M, half = len(levels), points // 2
    if points <= order or points > M:
        raise ArtRLError(f"points must be in {order + 1}..{M}, got {points}")
    matrix = np.zeros((M, M))
    for k in range(M):
        first = min(max(k - half, 0), M - points)
        nodes = levels[first : first + points] - levels[k]
        matrix[k, first : first + points] = _derivative_weights(nodes, order)
    return matrix


def _derivative_weights(nodes: np.ndarray, order: int) -> np.ndarray:
    """(n,) weights of a derivative at 0, which is one of the (n,) distinct nodes.

    Lagrange's polynomials: exact to rounding however far apart the nodes lie, where the linear equations
    of the monomials become singular.  The weight at 0 makes the sum vanish, so that the rounding of a
    nearly constant function is not multiplied by it (Baltensperger & Trummer 2003).
    """
    weights = np.zeros(len(nodes))
    for i in np.flatnonzero(nodes):
        others = np.delete(nodes, i)
        polynomial = np.polynomial.polynomial.polyfromroots(others)
        weights[i] = math.factorial(order) * polynomial[order] / np.prod(nodes[i] - others)
    weights[nodes == 0] = -math.fsum(weights)
    return weights


def apply(matrix: np.ndarray, values: Tensor) -> Tensor:
    """matrix @ values along the first axis."""
    return torch.tensordot(torch.as_tensor(matrix, device=values.device), values, dims=1)


def second_derivatives(denoiser: Denoiser, path: Walk, estimator: str) -> Tensor:
    """Q at every node of a walk by one of ESTIMATORS, (M, B, *shape) float64."""
    check_known("estimator", estimator, ESTIMATORS)
    if estimator == "rollout":
        return rollout(path.levels, path.denoised)
    single = jvp if estimator == "jvp" else difference
    rows = []
    for k, level in enumerate(path.levels):
        known = path.denoised[k]
        rows.append(single(denoiser, path.states[k], float(level), path.class_labels, known)[1])
    return torch.stack(rows)
