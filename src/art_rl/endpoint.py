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

This is asymptotic in K.  The solver's own error vectors are used, yet at few steps and high order
(Heun, RK4 at K <= 10) it is only a start: `art_rl.refine` goes on from it at the actual K.
"""

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from art_rl.baselines import grid_from_density
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.files import read_npz, write_npz
from art_rl.provenance import versions
from art_rl.quadrature import smooth_log
from art_rl.schedule import Schedule, check_budget
from art_rl.solvers import ORDERS, SOLVERS, check_solver
from art_rl.trajectories import (
    carry,
    check_states,
    log_lattice,
    perturbation,
    perturbation_size,
    walk,
)

FORMAT = "art_rl.error_moments/1"

# Scaled local errors are kept below this share of sqrt(sigma^2 + sigma_data^2), per coordinate.
_LARGEST_ERROR = 0.5


@dataclass(frozen=True)
class ErrorMoments:
    """Second moments of propagated local errors.

    Attributes:
        levels: (N,) float64, decreasing from sigma_max; the step at node i starts there.
        moments: (N, N) float64, C_ij = E <v_i, v_j>, symmetric positive semidefinite.
        solver: whose local errors, a key of SOLVERS.
        model_digest: SHA-256 of the model.
        settings: sizes and cost; JSON-like.
    """

    levels: np.ndarray
    moments: np.ndarray
    solver: str
    model_digest: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_solver(self.solver)
        N = len(self.levels)
        if N < 3 or not (np.diff(self.levels) < 0).all() or not self.levels[-1] > 0:
            raise ArtRLError("moment levels must be positive and strictly decreasing, at least 3")
        if self.moments.shape != (N, N) or not np.isfinite(self.moments).all():
            raise ArtRLError(f"moments must be a finite ({N}, {N}) matrix")
        if not np.allclose(self.moments, self.moments.T, rtol=1e-9, atol=0):
            raise ArtRLError("moments must be symmetric")
        if not np.trace(self.moments) > 0:
            raise ArtRLError("moments are zero: the solver makes no error on these trajectories")

    @property
    def order(self) -> int:
        return ORDERS[self.solver]

    def save(self, path: str | os.PathLike) -> None:
        """Write as ``.npz``, atomically."""
        head = {
            "format": FORMAT,
            "solver": self.solver,
            "model_digest": self.model_digest,
            "settings": self.settings,
        }
        write_npz(path, head=np.array(json.dumps(head)), levels=self.levels, moments=self.moments)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ErrorMoments":
        """Read what `save` wrote; anything else is an ArtRLError naming the file."""
        arrays = read_npz(path)
        try:
            head = json.loads(str(arrays["head"]))
            if head.pop("format") != FORMAT:
                raise ArtRLError(f"its format is not {FORMAT!r}")
            return cls(levels=arrays["levels"], moments=arrays["moments"], **head)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtRLError(f"{path}: not an error-moment file ({error})") from None


@torch.no_grad()
def measure_error_moments(
    denoiser: Denoiser,
    x_start: Tensor,
    sigma_max: float,
    sigma_min: float,
    solver: str = "euler",
    nodes: int | None = None,
    class_labels: Tensor | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    budget: int = 10,
) -> ErrorMoments:
    """Measure C(s, s') with the solver's own local errors.

    On a log lattice of 2 ``nodes`` cells, each node's error is one solver step over two cells against
    two fine steps (step doubling, with Richardson's factor 2^p / (2^p - 1) where the fine solver is of
    the same order).  It is scaled by (h_K / h)^(p+1) to the size it has in a sampler of ``budget`` steps,
    carried to sigma = 0 by the lattice's own steps, and divided by h_K^(p+1).  The size matters where
    the flow branches: an infinitesimal error between two modes grows a thousandfold, a real one at most
    to their distance, and with infinitesimal errors such rare trajectories outweigh all others.

    Args:
        denoiser: the model.
        x_start: (B, *shape) states at sigma_max; 512 or more for low dimension, 64 for images.
        sigma_max, sigma_min: range, 0 < sigma_min < sigma_max.
        solver: a key of SOLVERS.
        nodes: N >= 4; default 48 for exact models and 24 for networks.
        class_labels: None or one-hot (B, label_dim).
        batch_size: samples per network call; default 4096 for exact models and 256 for networks.
        budget: K whose step lengths (those of the ``gaussian`` baseline) set the size of the errors.

    Cost in denoiser evaluations of one sample: about s N (2 N + 4) B, with s = 4 stages for exact models
    and for rk4, else 2.  N = 24, B = 64, euler or heun: 160,000.

    Raises:
        ArtRLError: unknown solver, bad range, sizes or states.
    """
    p = ORDERS[check_solver(solver)]
    x_start = check_states(denoiser, x_start, class_labels)
    own = None if class_labels is None else class_labels[:1]
    exact = denoiser(x_start[:1], torch.tensor(sigma_max), own).dtype == torch.float64
    nodes = (48 if exact else 24) if nodes is None else nodes
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 4:
        raise ArtRLError(f"nodes must be a whole number of at least 4, got {nodes!r}")
    batch_size = batch_size or (4096 if exact else 256)
    fine = "rk4" if exact or solver == "rk4" else "heun"
    lattice = log_lattice(sigma_max, sigma_min, 2 * nodes + 1)
    path = walk(denoiser, x_start, lattice, class_labels, fine, progress)
    at = np.arange(0, 2 * nodes, 2)
    sigmas = torch.tensor(lattice, device=x_start.device)
    errors = torch.stack(
        [
            SOLVERS[solver](denoiser, path.states[i], sigmas[i], sigmas[i + 2], class_labels)
            - path.states[i + 2]
            for i in at
        ]
    )
    if ORDERS[fine] == p:
        errors = errors * (2**p / (2**p - 1))
    h = lattice[at] - lattice[at + 2]
    growth = (_step_lengths(lattice[at], check_budget(budget), denoiser.sigma_data) / h) ** (p + 1)
    small = perturbation(denoiser, path, lattice[at + 2], errors)
    scale = torch.as_tensor(growth).to(small).reshape(-1, *[1] * (small.ndim - 1))
    scale = torch.maximum(scale, small)  # below that, rounding
    scale = torch.minimum(scale, small * (_LARGEST_ERROR / perturbation_size(path)))
    ends = carry(denoiser, path, at + 2, path.states[at + 2] + scale * errors, batch_size, progress)
    v = ((ends - path.end) / scale).flatten(1) / torch.tensor(h ** (p + 1)).to(ends)[:, None]
    C = (v @ v.T / len(x_start)).cpu().numpy()
    stages = {"rk4": 4, "heun": 2}[fine]
    return ErrorMoments(
        lattice[at],
        (C + C.T) / 2,
        solver,
        denoiser.digest,
        {
            "trajectories": len(x_start),
            "nodes": nodes,
            "fine_solver": fine,
            "sigma_min": sigma_min,
            "error_size_budget": budget,
            "evaluations": stages * len(x_start) * nodes * (nodes + 3),
        },
    )


def _step_lengths(levels: np.ndarray, K: int, sigma_data: float) -> np.ndarray:
    """Step length at each level in a ``gaussian`` grid of K steps, at most the level itself; (N,)."""
    density = (levels**2 + sigma_data**2) ** -0.75
    total = np.sum(node_weights(levels) * density)
    return np.minimum(total / (K * density), levels)


def node_weights(levels: np.ndarray) -> np.ndarray:
    """(N,) weights of int_0^levels[0] f dsigma: trapezoid in log sigma, f constant below the last node."""
    cells = -np.diff(np.log(levels))
    weights = np.zeros(len(levels))
    weights[:-1] += cells / 2
    weights[1:] += cells / 2
    weights *= levels
    weights[-1] += levels[-1]
    return weights


def solve_convex(
    moments: np.ndarray, weights: np.ndarray, order: int, iterations: int = 500
) -> tuple[np.ndarray, float]:
    """Minimise 1/2 phi' A phi + p sum w phi^(-1/p) over phi > 0, A_ij = w_i C_ij w_j.

    Damped Newton steps in log-free form: the objective is strictly convex, its Hessian positive
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
    for _ in range(iterations):
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


def endpoint_schedule(
    moments: ErrorMoments, K: int, smooth: bool = True, model: str | None = None
) -> Schedule:
    """The schedule of K steps that is optimal for the leading-order endpoint error.

    Args:
        moments: measured with the solver the schedule is for.
        smooth: smooth the step lengths in log-log (`quadrature.smooth_log`).
        model: name for the provenance.

    Raises:
        ArtRLError: K < 1, or the convex problem does not converge.
    """
    phi, residual = solve_convex(moments.moments, node_weights(moments.levels), moments.order)
    lengths = phi ** (1 / moments.order)
    if smooth:
        lengths = smooth_log(moments.levels, lengths)
    ascending = np.log(moments.levels[::-1])
    curve = PchipInterpolator(ascending, -np.log(lengths[::-1]))

    def density(sigma: np.ndarray) -> np.ndarray:
        inside = np.clip(sigma, moments.levels[-1], moments.levels[0])
        return np.exp(curve(np.clip(np.log(inside), ascending[0], ascending[-1])))

    sigmas = grid_from_density(density, check_budget(K), float(moments.levels[0]))
    provenance = {
        "method": "endpoint",
        "model_digest": moments.model_digest,
        "budget": int(K),
        "solver": moments.solver,
        "versions": versions(),
        "details": {
            "optimality_residual": residual,
            "smooth": smooth,
            "moments": dict(moments.settings),
        },
    }
    if model is not None:
        provenance["model"] = model
    return Schedule(tuple(sigmas), provenance)
