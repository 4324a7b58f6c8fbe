"""Reference trajectories on a log-sigma lattice, and errors carried along them to sigma = 0.

A `Walk` holds the states of the probability-flow ODE at M log-spaced levels from sigma_max to
sigma_min and at 0 (the last leg is an Euler step).  `carry` starts perturbed
copies at lattice nodes, runs them to 0 with the same steps and returns where they end: the difference
to the walk's own end is the propagated error Phi(0, sigma) e, Phi being the flow's linearisation.
The same steps on both sides make the lattice's own error cancel to first order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.checks import check_whole
from art_rl.denoisers.base import Denoiser, FirstKnown, Labelled, is_exact
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import SOLVERS, check_single_step
from art_rl.schedules.schedule import check_positive_range

# What is measured counts as resolved where it is this many times the rounding it is made from.
_RESOLVED = 30.0


@dataclass(frozen=True)
class Walk:
    """States of B trajectories on a lattice.

    Attributes:
        levels: (M,) float64, strictly decreasing, first sigma_max, last sigma_min > 0.
        states: (M, B, *shape) float64, state at each level.
        denoised: (M, B, *shape), D(state; level), in the denoiser's dtype.
        end: (B, *shape) float64, state at sigma = 0.
        exact: whether the denoiser says it is exact (`art_rl.denoisers.is_exact`).
        solver: solver of the steps between levels.
        class_labels: None or one-hot (B, label_dim).
    """

    levels: np.ndarray
    states: Tensor
    denoised: Tensor
    end: Tensor
    exact: bool
    solver: str
    class_labels: Tensor | None = None


def log_lattice(sigma_max: float, sigma_min: float, count: int) -> np.ndarray:
    """``count`` log-spaced levels from sigma_max down to sigma_min > 0, ends exact; float64 (count,)."""
    check_positive_range(sigma_min, sigma_max, "a log-spaced lattice")
    check_whole("levels", count, 8)
    levels = np.geomspace(sigma_max, sigma_min, count)
    levels[0], levels[-1] = sigma_max, sigma_min
    return levels


def check_states(
    denoiser: Denoiser, x: Tensor, class_labels: Tensor | None, name: str = "x_start"
) -> Tensor:
    """Return ``x`` as float64 if it is a finite (B, *shape) batch with matching labels, else ArtRLError."""
    if x.ndim < 1 or len(x) < 1 or tuple(x.shape[1:]) != tuple(denoiser.shape):
        raise ArtRLError(
            f"{name} must have shape (B, {', '.join(map(str, denoiser.shape))}) with B >= 1, "
            f"got {tuple(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise ArtRLError(f"{name} must be finite, {int((~torch.isfinite(x)).sum())} values are not")
    if class_labels is not None and len(class_labels) != len(x):
        raise ArtRLError(
            f"class_labels must have {len(x)} rows like {name}, got {len(class_labels)}"
        )
    return x.to(torch.float64)


@torch.no_grad()
def walk(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: np.ndarray,
    class_labels: Tensor | None = None,
    solver: str = "heun",
    progress: bool = False,
) -> Walk:
    """Integrate ``x_start`` (B, *shape) at levels[0] through every level and on to 0.

    Cost in network calls of batch B: 2M for heun (the slope at each node is evaluated once more for
    ``denoised``; Heun's first stage reuses it), 4M for rk4, M for euler.

    Raises:
        ArtRLError: bad states or labels, a solver that is unknown or multistep, a denoiser that returns NaN
            or infinity.
    """
    x, states, denoised = x_start, [], []
    for x, known in steps(denoiser, x_start, levels, class_labels, solver, progress):
        states.append(x)
        denoised.append(known)
    return Walk(
        np.asarray(levels, dtype=np.float64),
        torch.stack(states),
        torch.stack(denoised),
        denoised[-1].double(),
        is_exact(denoiser),
        solver,
        class_labels,
    )


@torch.no_grad()
def steps(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: np.ndarray,
    class_labels: Tensor | None = None,
    solver: str = "heun",
    progress: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (state, D(state; level)) at every level, one after the other; arguments as in `walk`.

    The state at sigma = 0 is the last D.  Nothing is kept: for large samples on many levels.
    """
    check_single_step(solver)
    x = check_states(denoiser, x_start, class_labels)
    sigmas = torch.tensor(np.array(levels), dtype=torch.float64, device=x.device)
    for k in tqdm(range(len(levels)), desc="trajectories", disable=not progress, leave=False):
        known = denoiser(x, sigmas[k], class_labels)
        if not torch.isfinite(known).all():
            raise ArtRLError(f"the denoiser returned NaN or infinity at sigma = {levels[k]:.6g}")
        yield x, known
        if k + 1 < len(levels):
            # A step's first stage costs nothing.
            first = FirstKnown(Labelled(denoiser, class_labels), known)
            x = SOLVERS[solver](first, x, sigmas[k], sigmas[k + 1])


@torch.no_grad()
def carry(
    denoiser: Denoiser,
    path: Walk,
    nodes: np.ndarray,
    starts: Tensor,
    batch_size: int = 4096,
    progress: bool = False,
) -> Tensor:
    """Run perturbed copies of a walk's states to sigma = 0 with the walk's own steps.

    Args:
        path: the unperturbed trajectories, M levels.
        nodes: (N,) ascending lattice indices; copy n starts at path.levels[nodes[n]].  The index M
            (one past the last) means sigma = 0: nothing is left to run.
        starts: (N, B, *shape) float64, state of copy n at its node.
        batch_size: samples per network call.

    Returns:
        (N, B, *shape) float64 states at sigma = 0.  Cost: about N M B network samples for heun.
    """
    M, (N, B) = len(path.levels), starts.shape[:2]
    nodes = np.asarray(nodes)
    if len(nodes) != N or (np.diff(nodes) < 0).any() or nodes[0] < 0 or nodes[-1] > M:
        raise ArtRLError(
            f"nodes must be {N} ascending indices in 0..{M}, got {nodes.tolist()!r:.80}"
        )
    step = SOLVERS[path.solver]
    sigmas = torch.tensor(path.levels, dtype=torch.float64, device=starts.device)
    labels = None if path.class_labels is None else path.class_labels.repeat(N, 1)
    x = starts.reshape(N * B, *starts.shape[2:]).clone()
    for k in tqdm(range(int(nodes[0]), M), desc="errors to 0", disable=not progress, leave=False):
        under_way = int((nodes <= k).sum()) * B  # copies are ordered: the first ones have started
        for low in range(0, under_way, batch_size):
            part = slice(low, min(low + batch_size, under_way))
            own = None if labels is None else labels[part]
            if k == M - 1:
                x[part] = denoiser(x[part], sigmas[k], own).double()
            else:
                x[part] = step(Labelled(denoiser, own), x[part], sigmas[k], sigmas[k + 1])
    return x.reshape(starts.shape)


def norms(vectors: Tensor, leading: int = 2) -> Tensor:
    """Euclidean norms over all but the first ``leading`` axes."""
    return vectors.flatten(leading).norm(dim=-1) if vectors.ndim > leading else vectors.abs()


def resolved_range(values: np.ndarray, noise: np.ndarray) -> tuple[int, int] | None:
    """First and last node (inclusive) of the lattice range where ``values`` (M,) stand out of rounding.

    A node is resolved where its value is 30 times its ``noise`` (M,); a single node that is not (a
    derivative that changes sign) does not end the range.  None if nothing is resolved.
    """
    clear = values > _RESOLVED * noise
    clear[1:-1] |= clear[:-2] & clear[2:]
    best = int(np.argmax(values / np.maximum(noise, 1e-300)))
    if not clear[best]:
        return None
    up = int(np.argmin(np.append(clear[best::-1], False)))
    down = int(np.argmin(np.append(clear[best:], False)))
    return best - up + 1, best + down - 1


def continuation(
    levels: np.ndarray, resolved: tuple[int, int], above: float, below: float
) -> tuple[np.ndarray, np.ndarray]:
    """How values at ``levels`` (M,) go on where they are not resolved: by power laws in sigma.

    Returns:
        (M,) index of the level each value is taken from, and (M,) factor: above the ``resolved`` range
        values fall like sigma^-above, below it like sigma^below.
    """
    first, last = resolved
    factor = np.ones(len(levels))
    factor[:first] = (levels[first] / levels[:first]) ** above
    factor[last + 1 :] = (levels[last + 1 :] / levels[last]) ** below
    return np.clip(np.arange(len(levels)), first, last), factor


def perturbation_size(path: Walk) -> float:
    """Relative size of a small perturbation: well above the model's rounding, within linearity."""
    return 1e-5 if path.exact else 1e-2


def perturbation(denoiser: Denoiser, path: Walk, levels: np.ndarray, vectors: Tensor) -> Tensor:
    """Factors that scale ``vectors`` (N, B, *shape) into the flow's linear range at ``levels`` (N,).

    The scaled vectors have the root-mean-square size eps sqrt(sigma^2 + sigma_data^2) per coordinate,
    eps = 1e-5 in float64 and 1e-2 for networks (whose rounding is divided by eps).

    Returns:
        (N, B, 1, ...) float64, finite; a zero vector stays zero.
    """
    eps = perturbation_size(path)
    level = torch.as_tensor(levels, device=vectors.device)[:, None]
    rms = norms(vectors) / np.sqrt(max(1, int(np.prod(vectors.shape[2:]))))
    scale = eps * torch.sqrt(level**2 + denoiser.sigma_data**2) / rms.clamp_min(1e-150)
    return scale.reshape(*scale.shape, *[1] * (vectors.ndim - 2))


def propagate(
    denoiser: Denoiser, path: Walk, vectors: Tensor, batch_size: int = 4096, progress: bool = False
) -> Tensor:
    """Phi(0, levels[k]) vectors[k] for every node k of a walk, by finite differences.

    Args:
        vectors: (M, B, *shape) float64, one per node and trajectory.

    Returns:
        (M, B, *shape) float64.
    """
    scale = perturbation(denoiser, path, path.levels, vectors)
    moved = path.states + scale * vectors
    ends = carry(denoiser, path, np.arange(len(path.levels)), moved, batch_size, progress)
    return (ends - path.end) / scale
