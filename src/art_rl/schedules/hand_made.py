"""Node densities turned into schedules, and the hand-made schedules every table compares with.

One mechanism: K + 1 levels are equal quantiles of a node density r(sigma) >= 0 on [low, sigma_max].
`grid_from_density` integrates r to near machine precision; each baseline is a density and the
paper's end convention (2601.18681 / 2607.02137 tables; see docs/method.md):

    uniform              r = 1 on [0, sigma_max]
    edm                  r = sigma^(1/rho - 1): K levels from sigma_max to sigma_min, then 0
    dpm                  r = 1/sigma (uniform log-SNR): K levels from sigma_max to sigma_min, then 0
    edm_no_sigma_min     the edm density on K + 1 levels, the last (sigma_min) replaced by 0
    dpm_no_sigma_min     the dpm density on K + 1 levels, the last replaced by 0
    arctan               r = c / (c^2 + sigma^2) on [0, sigma_max], c = sigma_data (Align Your Steps, Thm 3.1)
    cosine               the same with c = 1, i.e. uniform in the angle of the VP process
    gaussian             r = (sigma^2 + sigma_data^2)^(-3/4) on [0, sigma_max]: ART's optimum for
                         Gaussian data of standard deviation sigma_data; needs no model
"""

from collections.abc import Callable

import numpy as np

from art_rl.checks import check_budget, check_known
from art_rl.errors import ArtRLError
from art_rl.schedules.schedule import Schedule, check_positive_range, check_sigma_range

Density = Callable[[np.ndarray], np.ndarray]

_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(8)
_CELLS = 1024
# Below this share of sigma_max a density that is finite at 0 is integrated as one smooth cell.
_SMALLEST_SHARE = 1e-8


def _integrals(density: Density, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gauss-Legendre integrals of ``density`` over the cells [left, right]; shapes (n,)."""
    half, middle = (right - left) / 2, (right + left) / 2
    points = middle[:, None] + half[:, None] * _GAUSS_X
    values = np.asarray(density(points.ravel()), dtype=np.float64).reshape(points.shape)
    if not np.isfinite(values).all() or (values < 0).any():
        bad = points.ravel()[np.argmax(~np.isfinite(values.ravel()) | (values.ravel() < 0))]
        raise ArtRLError(f"density must be finite and >= 0, but is not at sigma = {bad:.6g}")
    return (values * _GAUSS_W).sum(1) * half


def grid_from_density(
    density: Density,
    K: int,
    sigma_max: float,
    sigma_min: float = 0.0,
    smooth_below: float = np.inf,
) -> np.ndarray:
    """K + 1 levels that cut ``density`` on [sigma_min, sigma_max] into K equal shares.

    Args:
        density: r(sigma) >= 0 for a float64 array of levels, integrable on the range; any scale.
        K: number of intervals, >= 1.
        sigma_max: first level.
        sigma_min: last level, 0 <= sigma_min < sigma_max.
        smooth_below: for sigma_min = 0, a level below which r is a smooth function of sigma (or a power
            of it); at most 1e-8 sigma_max is assumed.

    Returns:
        float64 array (K + 1,), strictly decreasing, ends exact, relative accuracy about 1e-12 for a
        density smooth in log sigma.

    Raises:
        ArtRLError: bad K or range; density negative, not finite, or zero everywhere.
    """
    check_budget(K)
    check_sigma_range(sigma_min, sigma_max)
    if sigma_min > 0:
        edges = np.geomspace(sigma_min, sigma_max, _CELLS + 1)
    else:
        smallest = min(sigma_max * _SMALLEST_SHARE, smooth_below)
        edges = np.geomspace(smallest, sigma_max, _CELLS)
        edges = np.concatenate([[0.0], edges])
    edges[0], edges[-1] = sigma_min, sigma_max
    cells = _integrals(density, edges[:-1], edges[1:])
    cumulative = np.concatenate([[0.0], np.cumsum(cells)])
    total = cumulative[-1]
    if not total > 0:
        raise ArtRLError("density must be positive somewhere on [sigma_min, sigma_max]; it is 0")
    targets = total * np.arange(1, K) / K
    cell = np.clip(np.searchsorted(cumulative, targets, side="right") - 1, 0, len(cells) - 1)
    low, high = edges[cell], edges[cell + 1]
    need = targets - cumulative[cell]
    # Within its cell the wanted level solves int_low^sigma r = need: bracketed regula falsi on a
    # smooth increasing function, started from the linear guess, then bisection-safe Newton.
    start = low.copy()
    sigma = low + (high - low) * np.clip(need / np.maximum(cells[cell], 1e-300), 0, 1)
    for _ in range(60):
        error = _integrals(density, start, sigma) - need
        low = np.where(error <= 0, sigma, low)
        high = np.where(error > 0, sigma, high)
        slope = np.asarray(density(sigma), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = sigma - error / slope
        inside = (newton >= low) & (newton <= high)
        updated = np.where(inside, newton, (low + high) / 2)
        if np.all(np.abs(updated - sigma) <= 4e-16 * np.abs(updated)):
            sigma = updated
            break
        sigma = updated
    grid = np.concatenate([[sigma_min], sigma, [sigma_max]])[::-1].copy()
    if not (np.diff(grid) < 0).all():
        raise ArtRLError(
            "density puts several levels on one point: it is concentrated beyond float64 resolution"
        )
    return grid


def _ending_at_sigma_min(
    density: Density, K: int, sigma_max: float, sigma_min: float
) -> np.ndarray:
    """EDM's convention: K levels from sigma_max to sigma_min, then 0 (Karras et al. 2022, eq. 5)."""
    if K == 1:
        return np.array([sigma_max, 0.0])
    return np.append(grid_from_density(density, K - 1, sigma_max, sigma_min), 0.0)


def _replacing_sigma_min(
    density: Density, K: int, sigma_max: float, sigma_min: float
) -> np.ndarray:
    """The same density on K + 1 levels, the last level replaced by 0: no step is spent on sigma_min."""
    grid = grid_from_density(density, K, sigma_max, sigma_min)
    grid[-1] = 0.0
    return grid


def uniform(K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5) -> np.ndarray:
    """linspace(sigma_max, 0, K + 1); the identity clock of 2601.18681."""
    check_sigma_range(sigma_min, sigma_max)
    return np.linspace(sigma_max, 0.0, check_budget(K) + 1)


def edm(
    K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5, rho: float = 7.0
) -> np.ndarray:
    """Karras et al. 2022, eq. 5."""
    check_positive_range(sigma_min, sigma_max, "schedule 'edm'")
    return _ending_at_sigma_min(lambda s: s ** (1 / rho - 1), K, sigma_max, sigma_min)


def edm_no_sigma_min(
    K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5, rho: float = 7.0
) -> np.ndarray:
    """EDM's density without spending a node on sigma_min."""
    check_positive_range(sigma_min, sigma_max, "schedule 'edm_no_sigma_min'")
    return _replacing_sigma_min(lambda s: s ** (1 / rho - 1), K, sigma_max, sigma_min)


def dpm(K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5) -> np.ndarray:
    """Uniform in log-SNR (Lu et al. 2022, DPM-Solver)."""
    check_positive_range(sigma_min, sigma_max, "schedule 'dpm'")
    return _ending_at_sigma_min(lambda s: 1 / s, K, sigma_max, sigma_min)


def dpm_no_sigma_min(
    K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5
) -> np.ndarray:
    """Uniform in log-SNR without spending a node on sigma_min."""
    check_positive_range(sigma_min, sigma_max, "schedule 'dpm_no_sigma_min'")
    return _replacing_sigma_min(lambda s: 1 / s, K, sigma_max, sigma_min)


def arctan(K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5) -> np.ndarray:
    """Gaussian-optimal for the propagated Euler error (Sabour et al. 2024, Theorem 3.1)."""
    c = sigma_data
    return grid_from_density(lambda s: c / (c**2 + s**2), K, sigma_max)


def cosine(K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5) -> np.ndarray:
    """Uniform in the angle of the variance-preserving process: arctan with c = 1."""
    return grid_from_density(lambda s: 1 / (1 + s**2), K, sigma_max)


def gaussian(K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5) -> np.ndarray:
    """ART's optimum for Gaussian data: |Q| ~ (sigma^2 + sigma_data^2)^(-3/2), density |Q|^(1/2)."""
    c = sigma_data
    return grid_from_density(lambda s: (s**2 + c**2) ** -0.75, K, sigma_max)


BASELINES: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        uniform,
        dpm,
        edm,
        dpm_no_sigma_min,
        edm_no_sigma_min,
        arctan,
        cosine,
        gaussian,
    )
}


def baseline_schedule(
    name: str, K: int, sigma_max: float, sigma_min: float, sigma_data: float = 0.5, **options: float
) -> Schedule:
    """A named baseline as a Schedule.

    Args:
        name: a key of BASELINES.
        K: steps, >= 1.
        sigma_max, sigma_min: range in data units, 0 < sigma_min < sigma_max.
        sigma_data: standard deviation of the data (used by arctan and gaussian).
        options: further arguments of the baseline, e.g. rho of edm.

    Raises:
        ArtRLError: unknown name, bad K or range.
    """
    check_known("baseline schedule", name, BASELINES)
    if not sigma_data > 0:
        raise ArtRLError(f"sigma_data must be positive, got {sigma_data}")
    if not options.get("rho", 7.0) > 0:
        raise ArtRLError(f"rho must be positive, got {options['rho']}")
    # Densities that do not use sigma_min would otherwise let an impossible range pass.
    check_sigma_range(sigma_min, sigma_max)
    sigmas = BASELINES[name](K, sigma_max, sigma_min, sigma_data, **options)
    return Schedule(tuple(sigmas), {"method": name, "budget": int(K), "solver": "any"})
