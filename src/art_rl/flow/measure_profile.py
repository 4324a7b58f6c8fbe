"""The measured `Profile` that closed-form schedules are made from.

Along trajectories on a log-sigma lattice: |Q| = |x''| and the higher derivatives |x^(p+1)| that the
local error of a solver of order p is made of, and how much of a local error the flow carries to
sigma = 0.  Means over trajectories with standard errors; |Q| of every trajectory is kept.

Derivatives divide the rounding of D by powers of sigma: in float64 |x^(5)| of unit-sized data is nothing
else below sigma = 0.004.  How large it is follows from the stencils and the size of D, so levels
at which a derivative is not resolved are known, and continued by the law that holds there: without noise
x is a smooth function of sigma^2, so odd derivatives vanish like sigma and even ones are constant; far
above the data |x^(n)| falls like sigma^-(n+1).
"""

import numpy as np
import scipy
import torch
from torch import Tensor

from art_rl.checks import check_known
from art_rl.denoisers.base import Denoiser, is_exact, trained_noise
from art_rl.errors import ArtRLError
from art_rl.flow.curvature import (
    ESTIMATORS,
    apply,
    derivative_matrix,
    rollout,
    rounding_matrix,
    second_derivatives,
)
from art_rl.flow.trajectory import (
    check_states,
    continuation,
    log_lattice,
    norms,
    propagate,
    resolved_range,
    walk,
)
from art_rl.registry import ORDERS
from art_rl.schedules.closed_form import fill_zeros
from art_rl.schedules.profile import EDM_NOISE, Profile
from art_rl.schedules.schedule import check_sigma_range

__all__ = ["Profile", "measure_profile"]


def measure_profile(
    denoiser: Denoiser,
    x_start: Tensor,
    sigma_max: float,
    sigma_min: float,
    levels: int | None = None,
    estimator: str = "rollout",
    class_labels: Tensor | None = None,
    progress: bool = True,
    sensitivity_levels: int | None = None,
    sensitivity_samples: int | None = None,
    batch_size: int = 64,
) -> Profile:
    """Measure |Q|, its higher relatives and the flow's sensitivity along reference trajectories.

    Args:
        x_start: (B, *shape) states at sigma_max; 64 are enough for images, 512 for 1-D mixtures.
        sigma_max, sigma_min: range of the lattice, 0 < sigma_min < sigma_max.
        levels: lattice size M >= 8; default 128 for exact models and 64 for networks, more where the
            range is wider than EDM's (0.002 to 80).
        estimator: a key of ESTIMATORS.  jvp needs forward-mode rules for every operation.
        class_labels: None or one-hot (B, label_dim).
        sensitivity_levels: lattice size S of the sensitivity measurement; default 48 and 24.
        sensitivity_samples: trajectories used for it (at most B); default 64, and for exact models up
            to 512 in low dimension, where one trajectory says little.
        batch_size: trajectories per chunk and states per network call (64 times as many for exact models).

    Trajectories take RK4 steps for exact models and Heun steps for networks.  Cost for a network in
    evaluations of one sample: 2 M B for the trajectories, M B more for difference, about 3 M B more
    for jvp, and S (S + 3) min(B, sensitivity_samples) for the sensitivity; with the defaults and
    B = 64: 50,000.  Stored in settings["evaluations"].

    Raises:
        ArtRLError: unknown estimator, bad range, sizes or states; |Q| is rounding error everywhere.
    """
    check_known("estimator", estimator, ESTIMATORS)
    x_start = check_states(denoiser, x_start, class_labels)
    if len(x_start) < 2:
        raise ArtRLError("x_start must hold at least 2 trajectories, got 1")
    if batch_size < 1 or (sensitivity_samples is not None and sensitivity_samples < 2):
        raise ArtRLError(
            "batch_size must be >= 1 and sensitivity_samples >= 2, "
            f"got {batch_size} and {sensitivity_samples}"
        )
    B = len(x_start)
    own = None if class_labels is None else class_labels[:1]
    with torch.no_grad():  # labels that are missing or wrong are said before anything else
        denoiser(x_start[:1], torch.tensor(sigma_max), own)
    exact = is_exact(denoiser)
    solver, stages = ("rk4", 4) if exact else ("heun", 2)
    if levels is None:
        check_sigma_range(sigma_min, sigma_max)
        width = np.log(sigma_max / max(sigma_min, 1e-300)) / np.log(80 / 0.002)
        levels = int(np.ceil((128 if exact else 64) * max(1.0, width)))
    lattice = log_lattice(sigma_max, sigma_min, levels)
    chunk = batch_size * (64 if exact else 1)
    M = len(lattice)
    # Two points more than the order needs: a power law sigma^-6 changes a lot from node to node.
    points = {p: min(p + 5 - p % 2, M) for p in ORDERS.values() if p > 1}
    higher = {p: derivative_matrix(lattice, p - 1, n) for p, n in points.items()}
    size: float | np.ndarray = 0.0
    rows: dict[int, list[Tensor]] = {p: [] for p in ORDERS.values()}
    for low in range(0, B, chunk):
        own = None if class_labels is None else class_labels[low : low + chunk]
        path = walk(denoiser, x_start[low : low + chunk], lattice, own, solver, progress)
        second = second_derivatives(denoiser, path, estimator)
        size = size + norms(path.denoised.double()).sum(1).cpu().numpy() / B
        rows[1].append(norms(second).T)
        for p, matrix in higher.items():
            rows[p].append(norms(apply(matrix, second)).T)
    tables = {p: torch.cat(parts).cpu().numpy() for p, parts in rows.items()}
    unit = torch.finfo(path.denoised.dtype).eps / 2 * size
    rounding = rounding_matrix(lattice, estimator, path.denoised.dtype, denoiser.sigma_data)
    unresolved = []
    for p in sorted(tables):
        matrix = higher[p] @ rounding if p > 1 else rounding
        noise = unit * np.linalg.norm(matrix, axis=1)
        continued = _continue_ends(lattice, tables[p], noise, p)
        if continued is None and p == 1:
            raise ArtRLError(
                "|Q| is below the rounding of the denoiser everywhere: the trajectories are straight lines"
            )
        if continued is None:
            unresolved.append(p)
            del tables[p]
        else:
            tables[p] = continued

    mean = {p: table.mean(0) for p, table in tables.items()}
    error_of_mean = {p: table.std(0, ddof=1) / np.sqrt(B) for p, table in tables.items()}
    for p in mean:
        if p > 1:
            fixed = _extend_ends(mean[p])
            error_of_mean[p] = error_of_mean[p] * fixed / np.maximum(mean[p], 1e-300)
            mean[p] = fixed

    coarse = log_lattice(sigma_max, sigma_min, sensitivity_levels or (48 if exact else 24))
    if sensitivity_samples is None:
        sensitivity_samples = max(64, min(512, 4096 // x_start[0].numel())) if exact else 64
    n = min(B, sensitivity_samples)
    own = None if class_labels is None else class_labels[:n]
    path = walk(denoiser, x_start[:n], coarse, own, solver, progress)
    local = rollout(coarse, path.denoised)
    arriving = norms(propagate(denoiser, path, local, chunk, progress)).cpu().numpy()
    ratio, error = _ratio(arriving.T, norms(local).cpu().numpy().T)

    def fine(values: np.ndarray) -> np.ndarray:
        return scipy.interpolate.PchipInterpolator(-np.log(coarse), values)(-np.log(lattice))

    noise = trained_noise(denoiser)
    per_trajectory = (stages + {"rollout": 0, "difference": 1, "jvp": 3}[estimator]) * M
    S = len(coarse)
    return Profile(
        levels=lattice,
        mean=mean,
        standard_error=error_of_mean,
        sensitivity=np.exp(fine(np.log(fill_zeros(coarse, ratio)))),
        sensitivity_error=fine(error),
        table=tables[1].astype(np.float32),
        exact=bool(exact),
        sigma_data=float(denoiser.sigma_data),
        model_digest=denoiser.digest,
        settings={
            "estimator": estimator,
            "trajectories": B,
            "levels": M,
            "sensitivity_levels": len(coarse),
            "sensitivity_samples": n,
            **({"unresolved_orders": unresolved} if unresolved else {}),
            **({"trained_noise": list(noise)} if noise != EDM_NOISE else {}),
            "evaluations": B * per_trajectory + n * stages * S * (S + 3) // 2,
        },
    )


def _continue_ends(
    levels: np.ndarray, table: np.ndarray, noise: np.ndarray, order: int
) -> np.ndarray | None:
    """``table`` (B, M) of |x^(order+1)| with unresolved levels at both ends continued by power laws.

    ``noise`` (M,) is the rounding of the means over trajectories.  None if no level is resolved.
    """
    found = resolved_range(table.mean(0), noise)
    if found is None:
        return None
    index, factor = continuation(levels, found, order + 2, 1 - order % 2)
    # take, not [:, index]: rows stay rows in memory, and their means are summed in the same order.
    return table.take(index, axis=1) * factor


def _ratio(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of means over the first axis, and its standard error (delta method)."""
    centre = bottom.mean(0)
    centre = np.where(centre > 0, centre, 1.0)
    ratio = top.mean(0) / centre
    residual = top - ratio * bottom
    return ratio, residual.std(0, ddof=1) / np.sqrt(len(top)) / centre


def _extend_ends(values: np.ndarray, nodes: int = 6) -> np.ndarray:
    """``values`` on a log lattice with the outermost nodes continued by the power law beside them.

    Derivatives of derivatives are unreliable where both stencils are one-sided; smooth trajectories
    follow power laws at both ends of the noise range.
    """
    edge = min(nodes, len(values) // 6)
    y = np.log(np.maximum(values, 1e-300))
    steps = np.arange(edge, 0, -1)
    y[:edge] = y[edge] - steps * (y[2 * edge] - y[edge]) / max(edge, 1)
    y = y[::-1]
    y[:edge] = y[edge] - steps * (y[2 * edge] - y[edge]) / max(edge, 1)
    return np.exp(y[::-1])
