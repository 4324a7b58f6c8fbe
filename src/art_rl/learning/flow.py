"""|Q|, features and the flow's sensitivity along exact probability-flow trajectories.

With F(x, psi) = -dx/dsigma and psi = T - sigma, the total derivative along the flow is
    Q = dF/dx F + dF/dpsi = d2x/dsigma2 = -(1/sigma) dD/dsigma        (2601.18681 eq. 7, 8)
so |Q| needs one Jacobian-vector product of the denoiser in the direction of the flow.
The propagated cost weights |Q| with w = |Phi(0, sigma) Q| / |Q|, Phi the flow's linearisation.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.denoisers.base import Denoiser, drift, expand_sigma
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import heun_step
from art_rl.learning.lattice import Lattice

# (denoiser, x, sigma, class_labels) -> (dx/dsigma, Q), both shaped like x.
QFunction = Callable[[Denoiser, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
# (x, sigma () or (B,)) -> (B, F), any smooth summary of the state; see default_features.
Features = Callable[[Tensor, Tensor], Tensor]


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of every sample, (B, *shape) -> (B,)."""
    return x.flatten(1).norm(dim=1)


def q_by_jvp(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dx/dsigma and Q at (x, sigma); one call and one forward-mode product of the denoiser."""
    slope = drift(denoiser, x, sigma, class_labels)
    _, total = torch.func.jvp(
        lambda state, level: denoiser(state, level, class_labels).to(x.dtype),
        (x, sigma),
        (slope, torch.ones_like(sigma)),
    )
    return slope, -total / expand_sigma(sigma, x)


def q_by_difference(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same from one Euler step h = eps sigma down the flow: two calls, relative bias of order eps.

    eps = 1e-4 for denoisers that answer in float64, 0.02 below (the rounding of D is divided by eps).
    Faster than `q_by_jvp` for small models, and needs no forward-mode rule.
    """
    first = denoiser(x, sigma, class_labels)
    h = (1e-4 if first.dtype == torch.float64 else 0.02) * sigma
    denoised = first.to(x.dtype)
    slope = (x - denoised) / expand_sigma(sigma, x)
    moved = denoiser(x - expand_sigma(h, x) * slope, sigma - h, class_labels).to(x.dtype)
    return slope, (moved - denoised) / expand_sigma(h * sigma, x)


def default_features(sigma_data: float) -> Features:
    """x / sqrt(sigma^2 + sigma_data^2) itself in up to 4 dimensions, else its root mean square."""

    def features(x: Tensor, sigma: Tensor) -> Tensor:
        flat = x.flatten(1)
        flat = flat / torch.sqrt(expand_sigma(sigma, flat) ** 2 + sigma_data**2)
        if flat.shape[1] <= 4:
            return flat
        return flat.square().mean(1, keepdim=True).sqrt()

    return features


def trace_flow(
    denoiser: Denoiser,
    x_start: Tensor,
    lattice: Lattice,
    q_function: QFunction = q_by_difference,
    features: Features | None = None,
    class_labels: Tensor | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """|Q| and features at every node along the flow from sigma_max (Heun's rule on the lattice).

    Args:
        x_start: (B, *shape) states at sigma_max, float64.
        features: hook (x, sigma) -> (B, F); `default_features` if None.

    Returns:
        q (B, nodes) and features (B, nodes, F), float64 on the CPU.  Nodes below sigma_min repeat
        the last node at or above it (the model is never asked there).

    Raises:
        ArtRLError: |Q| is not finite (sigma named).
    """
    if features is None:
        features = default_features(denoiser.sigma_data)
    nodes = lattice.nodes.tolist()
    first = next(i for i, level in enumerate(nodes) if level >= lattice.sigma_min * (1 - 1e-9))
    x = x_start
    q = torch.empty(len(x), len(nodes), dtype=torch.float64)
    seen: list[Tensor] = [torch.empty(0)] * len(nodes)
    for j in tqdm(range(len(nodes) - 1, first - 1, -1), "|Q| along the flow", disable=not progress):
        sigma = torch.tensor(nodes[j], dtype=x.dtype, device=x.device)
        _, total = q_function(denoiser, x, sigma, class_labels)
        q[:, j] = norm(total).double().cpu()
        if not torch.isfinite(q[:, j]).all():
            raise ArtRLError(f"|Q| is not finite at sigma = {nodes[j]:.6g}; check the denoiser")
        seen[j] = features(x, sigma).double().cpu()
        if j > first:
            below = torch.tensor(nodes[j - 1], dtype=x.dtype, device=x.device)
            x = heun_step(denoiser, x, sigma, below, class_labels)
    q[:, :first] = q[:, first : first + 1]
    seen[:first] = [seen[first]] * first
    return q, torch.stack(seen, 1)


def trace_sensitivity(
    denoiser: Denoiser,
    x_start: Tensor,
    lattice: Lattice,
    every: int = 4,
    size: float = 1e-4,
    q_function: QFunction = q_by_difference,
    class_labels: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """w = |Phi(0, sigma) Q| / |Q| at every node, (B, nodes): how much of an error is passed on.

    A copy of the trajectory is displaced along Q at every ``every``-th node and carried down with the
    same steps as the original; log w is interpolated between these nodes.  ``size`` is the
    displacement relative to sigma (raise it to 1e-2 for float32 networks).
    """
    nodes = lattice.nodes.tolist()
    first = next(i for i, level in enumerate(nodes) if level >= lattice.sigma_min * (1 - 1e-9))
    picked = list(range(len(nodes) - 1, first, -every))
    x, B = x_start, len(x_start)
    pack = x[:0]
    displacements: list[Tensor] = []
    for position, j in enumerate(tqdm(picked, "sensitivity", disable=not progress)):
        sigma = torch.tensor(nodes[j], dtype=x.dtype, device=x.device)
        _, total = q_function(denoiser, x, sigma, class_labels)
        length = norm(total).clamp_min(1e-300)
        moved = total / expand_sigma(length, x) * (size * sigma)
        displacements.append(norm(moved).double().cpu())
        pack = torch.cat([pack, x + moved])
        low = picked[position + 1] if position + 1 < len(picked) else first
        below = torch.tensor(nodes[low], dtype=x.dtype, device=x.device)
        labels = None if class_labels is None else class_labels.repeat(position + 2, 1)
        both = heun_step(denoiser, torch.cat([x, pack]), sigma, below, labels)
        x, pack = both[:B], both[B:]
    # From sigma_min to 0 the flow is one Euler step, as every solver here ends.
    labels = None if class_labels is None else class_labels.repeat(len(picked) + 1, 1)
    level = torch.tensor(nodes[first], dtype=x.dtype, device=x.device)
    ends = denoiser(torch.cat([x, pack]), level, labels).to(x.dtype)
    gaps = norm(ends[B:] - ends[:B].repeat(len(picked), *[1] * (x.ndim - 1)))
    w = gaps.double().cpu().reshape(len(picked), B) / torch.stack(displacements)
    log_w = torch.log(w.clamp_min(1e-12)).flip(0).T  # (B, picked), ascending levels
    at = lattice.coordinate(lattice.nodes[torch.tensor(picked[::-1])])
    where = lattice.coordinate(lattice.nodes)
    index = (torch.searchsorted(at, where, right=True) - 1).clamp_(0, len(picked) - 2)
    share = ((where - at[index]) / (at[index + 1] - at[index])).clamp_(0, 1)
    return torch.exp(log_w[:, index] * (1 - share) + log_w[:, index + 1] * share)
