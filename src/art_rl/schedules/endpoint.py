"""Endpoint-optimal schedules: minimise the error that arrives at sigma = 0, not a sum of norms.

Local errors are vectors and the flow carries them to the end, where they add up or cancel.  To leading
order a solver of order p with step lengths h(sigma) = (T/K) theta(sigma) ends off by

    e = int_0^T h^p v dsigma,    v(sigma) = Phi(0, sigma) (local error of one step) / h^(p+1)

along each trajectory (Phi: the flow's linearisation).  With C(s, s') = E <v(s), v(s')> and
phi = theta^p the best time-only clock solves

    minimise  int int phi(s) C(s, s') phi(s') ds ds'   subject to   int phi^(-1/p) ds = T,

which is convex: C is positive semidefinite and phi^(-1/p) convex.  Both terms are homogeneous, so the
solution is, up to a factor, the unconstrained minimum of 1/2 phi' A phi + p sum_i w_i phi_i^(-1/p) with
A_ij = w_i C_ij w_j, found by damped Newton steps in milliseconds.  Its optimality condition is
(A phi)_i phi_i^(1/p + 1) = w_i at every node.

Two details decide whether this works at few steps (RMSE of RK4 at K = 10, 1-D mixture, sigma_max 80:
0.039 without them, 0.0015 with): a step's error belongs to the middle of the step, not to its start,
and the last step of every single-step solver is an Euler step, which `endpoint_schedule` balances separately.

It stays asymptotic in K.  With Heun at K <= 5 from sigma_max = 80 the first step is far outside the
range of its own leading error term, and other grids are better; `art_rl.learning.gauss_newton` goes on
from here at the actual K.
"""

import numpy as np
import scipy

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.closed_form import smooth_log
from art_rl.schedules.error_moments import ErrorMoments
from art_rl.schedules.hand_made import grid_from_density
from art_rl.schedules.schedule import Schedule

__all__ = ["endpoint_schedule", "solve_convex"]

_ITERATIONS = 500  # of Newton, at the most


def solve_convex(moments: np.ndarray, weights: np.ndarray, order: int) -> tuple[np.ndarray, float]:
    """Minimise 1/2 phi' A phi + p sum w phi^(-1/p) over phi > 0, A_ij = w_i C_ij w_j.

    Damped Newton steps: the objective is strictly convex, its Hessian positive
    definite, and a step never goes further than 95 % of the way to the boundary.

    Returns:
        phi (N,), up to the scale that the step budget fixes, and the optimality residual
        max_i |(A phi)_i phi_i^(1/p + 1) / w_i - 1|.

    Raises:
        ArtRLError: the iteration does not reach a residual of 1e-6.
    """
    p, w = order, weights
    A = w[:, None] * moments * w
    A = A * (w.sum() / A.sum()) if A.sum() > 0 else A * (w.sum() / np.trace(A))
    # A ridge far below the measurement's noise keeps Newton's matrix regular when C has low rank.
    A = A + 1e-10 * np.diag(np.diag(A))

    def value(phi: np.ndarray) -> float:
        return 0.5 * phi @ A @ phi + p * np.sum(w * phi ** (-1 / p))

    phi = np.ones(len(w))
    residual = np.inf
    for _ in range(_ITERATIONS):
        pull = A @ phi
        residual = float(np.abs(pull * phi ** (1 / p + 1) / w - 1).max())
        if residual < 1e-10:
            break
        gradient = pull - w * phi ** (-1 / p - 1)
        curvature = A + np.diag(w * (1 / p + 1) * phi ** (-1 / p - 2))
        # Newton's matrix spans many decades in sigma: scale it to a unit diagonal first.
        unit = 1 / np.sqrt(np.diag(curvature))
        step = -unit * np.linalg.solve(unit[:, None] * curvature * unit, unit * gradient)
        shrinking = step < 0
        size = 1.0
        if shrinking.any():
            size = min(1.0, 0.95 * float(np.min(-phi[shrinking] / step[shrinking])))
        here, slope = value(phi), gradient @ step
        while value(phi + size * step) > here + 0.1 * size * slope + 1e-14 * abs(here):
            size /= 2
            if size < 1e-12:
                break
        if size < 1e-12:
            break
        phi = phi + size * step
    if not residual < 1e-6:
        raise ArtRLError(
            f"the endpoint problem did not converge (optimality residual {residual:.2g}): "
            "measure the moments on more trajectories or fewer nodes"
        )
    return phi, residual


def endpoint_schedule(moments: ErrorMoments, K: int, model: str | None = None) -> Schedule:
    """The schedule of K steps that is optimal for the leading-order endpoint error.

    The last step of every single-step solver is an Euler step.  For orders above 1 it is not part of the
    problem: its start sigma_{K-1} is chosen to minimise the sum of the squared errors of both parts,
    the optimal steps above it scaled to K - 1 and the measured last step.

    Args:
        moments: measured with the solver the schedule is for.

    Raises:
        ArtRLError: K < 1, or the convex problem does not converge.
    """
    check_budget(K)
    phi, residual = solve_convex(moments.moments, moments.weights, moments.order)
    lengths = smooth_log(moments.levels, phi ** (1 / moments.order))
    ascending = np.log(moments.levels[::-1])
    curve = scipy.interpolate.PchipInterpolator(ascending, -np.log(lengths[::-1]))

    def density(sigma: np.ndarray) -> np.ndarray:
        inside = np.clip(sigma, moments.levels[-1], moments.levels[0])
        return np.exp(curve(np.clip(np.log(inside), ascending[0], ascending[-1])))

    sigma_max = float(moments.edges[0])
    if moments.order == 1 or K == 1:
        sigmas = grid_from_density(density, K, sigma_max, smooth_below=float(moments.edges[-1]))
    else:
        last = _last_level(moments, lengths, K)
        sigmas = np.append(grid_from_density(density, K - 1, sigma_max, last), 0.0)
    details = {"optimality_residual": residual, "smooth": True, "moments": dict(moments.settings)}
    return Schedule.found(sigmas, "endpoint", details, moments.solver, model, moments.model_digest)


def _last_level(moments: ErrorMoments, lengths: np.ndarray, K: int) -> float:
    """sigma_{K-1}: the best of 400 log-spaced levels for the two parts' squared errors.

    ``lengths`` (N,) are the optimal step lengths up to a factor.
    """
    p, w, edges = moments.order, moments.weights, moments.edges
    steps = np.append(0.0, np.cumsum(w / lengths))  # steps from sigma_max down to each edge
    below = np.append(edges[:-1], 0.0)
    candidates = np.geomspace(edges[0] * 0.999, edges[-1], 400)
    last = np.exp(
        np.interp(
            -np.log(candidates), -np.log(edges), np.log(np.maximum(moments.last_step, 1e-300))
        )
    )
    costs = []
    for sigma, error in zip(candidates, last, strict=True):
        share = np.clip((below[:-1] - sigma) / w, 0.0, 1.0)  # of each node's step, above sigma
        factor = np.interp(-sigma, -below, steps) / (K - 1)
        h = share * w * (factor * lengths) ** p
        costs.append(h @ moments.moments @ h + error)
    return float(candidates[int(np.argmin(costs))])
