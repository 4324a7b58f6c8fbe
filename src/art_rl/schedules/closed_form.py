"""Closed-form ART: schedules from a measured |Q| profile, without learning.

If |Q| depends on sigma only, minimising int |Q| theta dpsi under int dpsi/theta = T gives |Q| theta^2
constant: node density |Q|^(1/2) and optimum (int |Q|^(1/2) dsigma)^2 / T (2601.18681, eq. 9; for a
clock that sees the time only, |Q| is its mean over trajectories).  Relatives of the same argument:

    order p      local errors h^(p+1) |x^(p+1)|: density |x^(p+1)|^(1/(p+1))  (Heun p = 2, RK4 p = 4)
    propagated   each local error weighted with the share that arrives at sigma = 0:
                 density (s |x^(p+1)|)^(1/(p+1)).  Gaussian data: 1/(c^2 + sigma^2), the arctan schedule

The profile is smoothed in log-log before use (Whittaker smoother, strength by generalised
cross-validation), so noise moves nodes a little but never makes a bad grid.  For a trained network
|Q| is network error where it was not trained: outside ``trust`` the Gaussian's power laws continue it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from art_rl.checks import check_budget, check_one_of
from art_rl.errors import ArtRLError
from art_rl.schedules.hand_made import Density, grid_from_density
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule


def trained_range(P_mean: float = -1.2, P_std: float = 1.2) -> tuple[float, float]:
    """(low, high) of the levels a network sees in training, ln sigma ~ N(P_mean, P_std^2).

    Within 2.25 standard deviations of the centre: 98 % of the training samples.  The defaults are EDM's
    (Karras et al. 2022, table 1).
    """
    return float(np.exp(P_mean - 2.25 * P_std)), float(np.exp(P_mean + 2.25 * P_std))


TRAINED_RANGE = trained_range()

Trust = tuple[float, float] | str | None


@lru_cache(maxsize=8)
def _smoothness(M: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of |second differences|^2 on M nodes (uniform in log sigma)."""
    second = np.diff(np.eye(M), 2, axis=0)
    curvature, basis = np.linalg.eigh(second.T @ second)
    return np.maximum(curvature, 0.0), basis


def fill_zeros(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` >= 0 on decreasing ``levels``, zeros interpolated in log-log; the others are kept.

    Raises:
        ArtRLError: all values are zero.
    """
    values = np.asarray(values, dtype=np.float64)
    good = values > 0
    if not good.any():
        raise ArtRLError("the profile is zero everywhere: the trajectories are straight lines")
    if good.all():
        return values
    position = -np.log(levels)
    filled = np.exp(np.interp(position, position[good], np.log(values[good])))
    return np.where(good, values, filled)


def smooth_log(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` >= 0 on log-spaced ``levels``, smoothed in log-log; power laws pass unchanged.

    Whittaker smoother: minimises |y - log values|^2 + strength |second differences of y|^2 with the
    strength of least generalised cross-validation error.  Zeros are filled from their neighbours; no
    value is small against another: |x^(5)| of one trajectory spans fifteen decades and more.

    Raises:
        ArtRLError: all values are zero.
    """
    y = np.log(fill_zeros(levels, values))
    M = len(y)
    curvature, basis = _smoothness(M)
    rotated = basis.T @ y
    best, result = np.inf, y
    for strength in np.logspace(-4, 8, 97):
        gain = 1 / (1 + strength * curvature)
        residual = np.sum(((1 - gain) * rotated) ** 2) / M
        score = residual / (1 - gain.sum() / M) ** 2
        if score < best:
            best, result = score, basis @ (gain * rotated)
    return np.exp(result)


def _interpolate(levels: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Positive values as a function of sigma: monotone cubic in log-log, constant outside."""
    ascending = np.log(levels[::-1])
    curve = scipy.interpolate.PchipInterpolator(ascending, np.log(np.maximum(values[::-1], 1e-300)))

    def evaluate(sigma: np.ndarray) -> np.ndarray:
        position = np.log(np.clip(sigma, levels[-1], levels[0]))
        return np.exp(curve(np.clip(position, ascending[0], ascending[-1])))

    return evaluate


def check_trust(profile: Profile, trust: Trust) -> tuple[float, float] | None:
    """(low, high) of the levels to trust, None for all; ArtRLError if they hold too few of the profile."""
    if trust is None:
        return None
    if isinstance(trust, str):
        if trust != "auto":
            raise ArtRLError(f'trust must be "auto", None or (low, high), got {trust!r}')
        return None if profile.exact else trained_range(*profile.trained_noise)
    low, high = (float(value) for value in trust)
    inside = (profile.levels >= low) & (profile.levels <= high)
    if not low < high or inside.sum() < 3:
        raise ArtRLError(
            f"trust = ({low}, {high}) must hold at least 3 levels of the profile, "
            f"which runs from {profile.sigma_min} to {profile.sigma_max}"
        )
    return low, high


def node_density(
    profile: Profile,
    order: int = 1,
    propagated: bool = False,
    trust: Trust = "auto",
    smooth: bool = True,
) -> Density:
    """The node density r(sigma) of a closed-form schedule, for float64 levels in [0, sigma_max].

    Args:
        profile: measured |Q| and relatives.
        order: order p of the solver, a key of profile.mean (1, 2, ...).
        propagated: weight local errors with profile.sensitivity.
        trust: (low, high): |x^(p+1)| is used in this range only; below it is constant, above it falls
            like sigma^-(p+2), which is what Gaussian data does.  "auto": the levels the network was
            trained on (`trained_range`, EDM's: 0.020 to 4.5), everywhere for exact models.  None: everywhere.
            Below the profile it is constant, and for exact models and even p proportional to sigma.
        smooth: smooth the profile first.

    Raises:
        ArtRLError: the profile lacks the order, a bad range, or it is zero everywhere.
    """
    check_one_of("order", order, sorted(profile.mean))
    levels = profile.levels
    values = profile.mean[order]
    limits = check_trust(profile, trust)
    inside = np.ones(len(levels), bool)
    if limits is not None:
        inside = (levels >= limits[0]) & (levels <= limits[1])
        if inside.sum() < 3:  # only "auto" can get here: the model lives on another range
            inside[:] = True
    if smooth:
        trusted = smooth_log(levels[inside], values[inside])
    else:
        trusted = fill_zeros(levels[inside], values[inside])
    core = _interpolate(levels[inside], trusted)
    top, bottom = levels[inside][0], levels[-1]
    # Without noise x is a smooth function of sigma^2: odd derivatives vanish like sigma.
    power = 1 - order % 2 if profile.exact and limits is None else 0
    weight = None
    if propagated:
        carried = (smooth_log if smooth else fill_zeros)(levels, profile.sensitivity)
        weight = _interpolate(levels, carried)

    def density(sigma: np.ndarray) -> np.ndarray:
        error = core(sigma) * np.minimum(top / np.maximum(sigma, 1e-300), 1.0) ** (order + 2)
        error = error * np.minimum(sigma / bottom, 1.0) ** power
        if weight is not None:
            error = error * weight(sigma)
        return error ** (1 / (order + 1))

    return density


def quadrature_schedule(
    profile: Profile,
    K: int,
    order: int = 1,
    propagated: bool = False,
    trust: Trust = "auto",
    smooth: bool = True,
    model: str | None = None,
    solver: str = "any",
) -> Schedule:
    """The closed-form schedule with K steps for ``solver``; see `node_density` for the others.

    Its method is "quadrature" (order 1), "quadrature_order" (order p > 1) or "propagated".

    Raises:
        ArtRLError: as `node_density`; K < 1.
    """
    density = node_density(profile, order, propagated, trust, smooth)
    sigmas = grid_from_density(
        density, check_budget(K), profile.sigma_max, smooth_below=profile.sigma_min
    )
    method = "quadrature" if order == 1 else "quadrature_order"
    details = {"order": order, **density_facts(profile, propagated, trust, smooth)}
    return Schedule.found(
        sigmas, "propagated" if propagated else method, details, solver, model, profile.model_digest
    )


def density_facts(profile: Profile, propagated: bool, trust: Trust, smooth: bool) -> dict[str, Any]:
    """What a closed form was made with, for its provenance; arguments as in `node_density`."""
    limits = check_trust(profile, trust)
    return {
        "propagated": propagated,
        "trust": None if limits is None else list(limits),
        "smooth": smooth,
        "profile": dict(profile.settings),
    }
