"""Second moments of a solver's local errors as they arrive at sigma = 0.

C(s, s') = E <v(s), v(s')> with v(sigma) = Phi(0, sigma) (local error of one step at sigma) / h^(p+1) along
each trajectory, Phi the flow from the step's end to 0: what `art_rl.schedules.endpoint` minimises over
clocks.
"""

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_budget, check_whole
from art_rl.denoisers.base import Denoiser, Labelled, is_exact
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import SOLVERS
from art_rl.flow.trajectory import (
    Walk,
    carry,
    check_states,
    continuation,
    log_lattice,
    norms,
    perturbation,
    perturbation_size,
    resolved_range,
    walk,
)
from art_rl.registry import ORDERS, check_single_step
from art_rl.schedules.error_moments import ErrorMoments

# Scaled local errors are kept below this share of sqrt(sigma^2 + sigma_data^2), per coordinate.
_LARGEST_ERROR = 0.5


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
    Nodes whose errors are not resolved (RK4 in float64: below sigma = 0.02) are continued by power laws.

    Args:
        x_start: (B, *shape) states at sigma_max; 512 or more for low dimension, 64 for images.
        sigma_max, sigma_min: range, 0 < sigma_min < sigma_max.
        solver: a single-step one.  The error of a multistep step is not h^(p+1) v(sigma): it depends on
            the lengths of the steps before, and a run's first steps have a lower order.
        nodes: N >= 4; default 48 for exact models and 24 for networks.
        class_labels: None or one-hot (B, label_dim).
        batch_size: samples per network call; default 4096 for exact models and 256 for networks.
        budget: K whose step lengths (those of the ``gaussian`` baseline) set the size of the errors.

    Cost in denoiser evaluations of one sample: about s N (N + 3) B, with s = 4 stages for exact models
    and for rk4, else 2.  N = 24, B = 64, euler or heun: 83,000; in settings["evaluations"].

    Raises:
        ArtRLError: a solver that is unknown or multistep, bad range, sizes or states; local errors that
            are below rounding at every node.
    """
    p = ORDERS[check_single_step(solver)]
    x_start = check_states(denoiser, x_start, class_labels)
    own = None if class_labels is None else class_labels[:1]
    denoiser(
        x_start[:1], torch.tensor(sigma_max), own
    )  # wrong labels are said before anything else
    exact = is_exact(denoiser)
    nodes = check_whole("nodes", (48 if exact else 24) if nodes is None else nodes, 4)
    batch_size = batch_size or (4096 if exact else 256)
    fine = "rk4" if exact or solver == "rk4" else "heun"
    lattice = log_lattice(sigma_max, sigma_min, 2 * nodes + 1)
    path = walk(denoiser, x_start, lattice, class_labels, fine, progress)
    at = np.arange(0, 2 * nodes, 2)
    sigmas = torch.tensor(lattice, device=x_start.device)
    model = Labelled(denoiser, class_labels)
    ends = [SOLVERS[solver](model, path.states[i], sigmas[i], sigmas[i + 2]) for i in at]
    errors = torch.stack([end - path.states[i + 2] for end, i in zip(ends, at, strict=True)])
    if ORDERS[fine] == p:
        errors = errors * (2**p / (2**p - 1))
    h = lattice[at] - lattice[at + 2]
    growth = (_step_lengths(lattice[at], check_budget(budget), denoiser.sigma_data) / h) ** (p + 1)
    small = perturbation(denoiser, path, lattice[at + 2], errors)
    scale = torch.as_tensor(growth).to(small).reshape(-1, *[1] * (small.ndim - 1))
    scale = torch.maximum(scale, small)  # below that, rounding
    scale = torch.minimum(scale, small * (_LARGEST_ERROR / perturbation_size(path)))
    arrived = carry(
        denoiser, path, at + 2, path.states[at + 2] + scale * errors, batch_size, progress
    )
    v = ((arrived - path.end) / scale).flatten(1) / torch.tensor(h ** (p + 1)).to(arrived)[:, None]
    # Below the resolved nodes x is a smooth function of sigma^2: v ~ sigma for even orders, constant for
    # order 1.  Above, |x^(p+1)| falls like sigma^-(p+2) and the flow's linearisation like 1 / sigma.
    middles, resolved = np.sqrt(lattice[at] * lattice[at + 2]), _resolved(path, errors, at, h)
    index, factor = continuation(middles, resolved, p + 3, 1 - p % 2)
    v = v[torch.as_tensor(index, device=v.device)] * torch.as_tensor(factor).to(v)[:, None]
    C = (v @ v.T / len(x_start)).cpu().numpy()
    stages = {"rk4": 4, "heun": 2}[fine]
    edges = np.arange(0, 2 * nodes + 1, 2)
    last = (path.denoised[edges].double() - path.end).flatten(1).square().sum(1) / len(x_start)
    return ErrorMoments(
        lattice[edges],
        (C + C.T) / 2,
        last.cpu().numpy(),
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


def _resolved(path: Walk, errors: Tensor, at: np.ndarray, h: np.ndarray) -> tuple[int, int]:
    """First and last of the nodes ``at`` whose local errors (N, B, *shape) stand out of rounding.

    Steps round the state and the denoiser's answer, which enters as h / sigma D.
    """
    unit = torch.finfo(path.denoised.dtype).eps / 2
    answer = norms(path.denoised[at].double()).mean(1).cpu().numpy() * h / path.levels[at]
    state = norms(path.states[at]).mean(1).cpu().numpy()
    rounding = unit * answer + torch.finfo(path.states.dtype).eps / 2 * state
    found = resolved_range(norms(errors).mean(1).cpu().numpy(), rounding)
    if found is None:
        raise ArtRLError(
            "the solver's local errors are below rounding everywhere: the trajectories are straight lines, "
            "or the denoiser is not precise enough for this order"
        )
    return found


def _step_lengths(levels: np.ndarray, K: int, sigma_data: float) -> np.ndarray:
    """Step length at each level in a ``gaussian`` grid of K steps, at most the level itself; (N,)."""
    lattice = np.geomspace(levels[-1], levels[0], 2000)
    density = (lattice**2 + sigma_data**2) ** -0.75
    total = np.trapezoid(density, lattice) + levels[-1] * density[0]
    return np.minimum(total / K * (levels**2 + sigma_data**2) ** 0.75, levels)
