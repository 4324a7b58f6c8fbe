"""Statistics of a model that rival schedules need; see `art_rl.schedules.rivals.statistics`.

Data x_0 are exact samples where the model has them, else the ends of the teacher's trajectories: a
denoiser is the posterior mean of its own distribution.
"""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.checks import check_whole
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import STAGES, check_solver, run_levels
from art_rl.flow.trajectory import check_states, log_lattice
from art_rl.schedules.rivals.gits import jump_costs
from art_rl.schedules.rivals.statistics import RivalStatistics


def teacher_lattice(sigma_max: float, sigma_min: float, count: int) -> np.ndarray:
    """``count`` levels of EDM's rho = 7 from sigma_max to sigma_min, ends exact (Karras et al., eq. 5)."""
    levels = np.linspace(sigma_max ** (1 / 7), sigma_min ** (1 / 7), count) ** 7
    levels[0], levels[-1] = sigma_max, sigma_min
    return levels


@torch.no_grad()
def teacher_path(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: np.ndarray,
    class_labels: Tensor | None = None,
    solver: str = "ipndm4",
) -> tuple[Tensor, Tensor]:
    """States and slopes (N, B, *shape) float64 of a solver of one call a step at ``levels`` (N,).

    Cost: N network calls; every step's own call gives the slope at its start.

    Raises:
        ArtRLError: a solver of more calls a step; a network that returns NaN or infinity.
    """
    if STAGES[check_solver(solver)] != 1:
        raise ArtRLError(f"a teacher needs a solver of one call a step, got {solver!r}")
    values: list[Tensor] = []

    def recorded(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        values.append(denoiser(x, sigma, labels))
        if not torch.isfinite(values[-1]).all():
            level = float(sigma.reshape(-1)[0])
            raise ArtRLError(f"the denoiser returned NaN or infinity at sigma = {level:.6g}")
        return values[-1]

    s = torch.as_tensor(np.array(levels), dtype=torch.float64, device=x_start.device)
    states = [x_start, *run_levels(recorded, x_start, s, solver, class_labels)]
    recorded(states[-1], s[-1], class_labels)
    x = torch.stack(states)
    denoised = torch.stack([value.double() for value in values])
    return x, (x - denoised) / s.reshape(-1, *[1] * x_start.ndim)


@torch.no_grad()
def measure_rival_statistics(
    denoiser: Denoiser,
    x_start: Tensor,
    sigma_max: float,
    sigma_min: float,
    *,
    levels: int = 128,
    teacher_levels: int = 61,
    paths: int = 256,
    seed: int = 0,
    batch_size: int = 256,
    class_labels: Tensor | None = None,
    progress: bool = True,
) -> RivalStatistics:
    """Measure all of them; the noise is drawn on the CPU from ``seed``.

    Args:
        x_start: (B, *shape) float64 states at sigma_max, for the teacher.
        sigma_max, sigma_min: range in data units, 0 < sigma_min < sigma_max.
        levels: M of the lattice.
        teacher_levels: N of the GITS teacher (published: 61).
        paths: noise paths of the other statistics.  Without exact samples the data are the teacher's
            ends, each used paths / B times.
        batch_size: paths per network call.
        class_labels: None or one-hot (B, label_dim).

    Cost: N B for the teacher, paths (2 M - 1) network evaluations; counted, not computed.

    Raises:
        ArtRLError: bad states, range or sizes; a network that returns NaN or infinity.
    """
    for name, value, least in (
        ("teacher_levels", teacher_levels, 3),
        ("paths", paths, 2),
        ("batch_size", batch_size, 1),
    ):
        check_whole(name, value, least)
    lattice = log_lattice(sigma_max, sigma_min, levels)
    x_start = check_states(denoiser, x_start, class_labels)
    B = len(x_start)
    teacher = teacher_lattice(sigma_max, sigma_min, teacher_levels)
    kind = "l2" if int(np.prod(denoiser.shape)) == 1 else "dev"
    cost, ends = np.zeros((teacher_levels, teacher_levels)), []
    for rows in torch.arange(B).split(batch_size):
        own = None if class_labels is None else class_labels[rows]
        states, slopes = teacher_path(denoiser, x_start[rows], teacher, own)
        part = jump_costs(teacher, states.cpu().numpy(), slopes.cpu().numpy(), kind)
        cost += len(rows) / B * part
        ends.append(states[-1])
    evaluations = {"jump_cost": teacher_levels * B}
    generator = torch.Generator().manual_seed(seed)
    if hasattr(denoiser, "sample"):
        data, labels = denoiser.sample(paths, generator).to(x_start), None
    else:
        turn = torch.arange(paths) % B
        data = torch.cat(ends)[turn]
        labels = None if class_labels is None else class_labels[turn]
    error, change, gram = np.zeros(levels), np.zeros(levels - 1), np.zeros((levels, levels))
    parts = torch.arange(paths).split(batch_size)
    for rows in tqdm(parts, desc="statistics of rivals", disable=not progress, leave=False):
        own = None if labels is None else labels[rows]
        noise = torch.randn(levels, *data[rows].shape, generator=generator, dtype=torch.float64)
        sums = _along_paths(denoiser, data[rows], noise.to(data), lattice, own)
        for total, part in zip((error, change, gram), sums, strict=True):
            total += part / paths
    squares = np.diag(gram)
    between = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0.0)
    np.fill_diagonal(between, 0.0)
    own_data = 0 if hasattr(denoiser, "sample") else evaluations["jump_cost"]
    evaluations |= {
        "denoising_error": own_data + paths * levels,
        "denoiser_change": own_data + paths * levels,
        "score_change": own_data + paths * 2 * (levels - 1),
    }
    settings = {
        "levels": levels,
        "teacher_levels": teacher_levels,
        "teacher_states": B,
        "teacher_solver": "ipndm4",
        "jump_cost": kind,
        "paths": paths,
        "seed": seed,
        "data": "exact samples" if hasattr(denoiser, "sample") else "ends of the teacher",
    }
    return RivalStatistics(
        lattice, error, change, between, teacher, cost, evaluations, denoiser.digest, settings
    )


def _along_paths(
    denoiser: Denoiser, x0: Tensor, noise: Tensor, lattice: np.ndarray, labels: Tensor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over b samples of denoising error, score change and Gram matrix, each per coordinate.

    The state at level s_k is x_0 plus independent increments from the lowest level up: neighbouring
    states belong to one path of the forward process.
    """
    M, size = len(lattice), x0[0].numel()
    variance = np.diff(np.append(lattice, 0.0) ** 2) * -1
    x = x0.clone()
    denoised = [torch.empty(0)] * M
    change = np.zeros(M - 1)
    for k in reversed(range(M)):
        x = x + float(np.sqrt(variance[k])) * noise[k]
        low = float(lattice[k])
        value = denoiser(x, torch.tensor(low, dtype=x.dtype, device=x.device), labels).double()
        if not torch.isfinite(value).all():
            raise ArtRLError(f"the denoiser returned NaN or infinity at sigma = {low:.6g}")
        denoised[k] = value.flatten(1)
        if k > 0:
            high = float(lattice[k - 1])
            above = denoiser(x, torch.tensor(high, dtype=x.dtype, device=x.device), labels)
            difference = (value - x) / low**2 - (above.double() - x) / high**2
            change[k - 1] = float(difference.square().sum()) / size
    error = [float((value - x0.flatten(1)).square().sum()) / size for value in denoised]
    stacked = torch.stack(denoised).flatten(1)
    return np.array(error), change, (stacked @ stacked.T).cpu().numpy() / size
