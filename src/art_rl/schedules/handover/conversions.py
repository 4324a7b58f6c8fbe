"""Levels in other conventions, and back; numpy only.

    sigma   noise over signal, x = x_0 + sigma noise: what a Schedule holds (Karras et al. 2022)
    t       flow matching's time, x_t = (1 - t) x_0 + t noise: t = sigma / (1 + sigma)
    index   fractional position in a variance-preserving table alpha_bar_0 > alpha_bar_1 > ...,
            sigma_i = sqrt((1 - alpha_bar_i) / alpha_bar_i), log-linear in sigma between entries

Schedulers of flow models warp the time they are given; `unshift` undoes what they will do:

    shift s         t -> s t / (1 + (s - 1) t)        (Esser et al. 2024, eq. 23)
    dynamic mu      the same with s = e^mu
"""

import math
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError

# What "exact" means at a hand-over: float32 holds a level to 6e-8.
TOLERANCE = 1e-6


def flow_times(sigmas: np.ndarray) -> np.ndarray:
    """Flow times t = sigma / (1 + sigma) of levels sigma >= 0; float64, same shape, in [0, 1)."""
    sigmas = np.asarray(sigmas, dtype=np.float64)
    return sigmas / (1 + sigmas)


def flow_sigmas(times: np.ndarray) -> np.ndarray:
    """Levels sigma = t / (1 - t) of flow times 0 <= t < 1; float64, same shape.

    Raises:
        ArtRLError: a time outside [0, 1).
    """
    times = np.asarray(times, dtype=np.float64)
    bad = ~((times >= 0) & (times < 1))
    if bad.any():
        raise ArtRLError(
            f"flow times must lie in [0, 1), got {times[bad].flat[0]}; "
            "a time of 1 is pure noise (sigma infinite)"
        )
    return times / (1 - times)


def unshift(times: np.ndarray, shift: float = 1.0, mu: float | None = None) -> np.ndarray:
    """Times that a scheduler with this ``shift`` (or dynamic ``mu``) maps to ``times``.

    Args:
        times: flow times in [0, 1], any shape.
        shift: static shift s > 0; not used when ``mu`` is given.
        mu: dynamic shift, s = e^mu.

    Returns:
        float64, same shape: t / (s - (s - 1) t).

    Raises:
        ArtRLError: shift not positive and finite, mu not finite.
    """
    s = _shift(shift, mu)
    times = np.asarray(times, dtype=np.float64)
    return times / (s - (s - 1) * times)


def reshift(times: np.ndarray, shift: float = 1.0, mu: float | None = None) -> np.ndarray:
    """What a scheduler makes of ``times``: s t / (1 + (s - 1) t); the inverse of `unshift`."""
    s = _shift(shift, mu)
    times = np.asarray(times, dtype=np.float64)
    return s * times / (1 + (s - 1) * times)


def _shift(shift: float, mu: float | None) -> float:
    if mu is not None:
        if not math.isfinite(mu):
            raise ArtRLError(f"mu (dynamic shift) must be finite, got {mu}")
        return math.exp(mu)
    if not (math.isfinite(shift) and shift > 0):
        raise ArtRLError(f"shift must be positive and finite, got {shift}")
    return float(shift)


def table_sigmas(alphas_cumprod: Any) -> np.ndarray:
    """sqrt((1 - alpha_bar) / alpha_bar) of a table, float64 (N,), increasing.

    Entries without a finite level at the noisy end (zero terminal SNR), and the small number that
    EulerDiscrete puts there instead of 0, are left out.

    Raises:
        ArtRLError: fewer than 2 entries, or not decreasing within (0, 1).
    """
    table = np.asarray(alphas_cumprod, dtype=np.float64)
    if table.ndim != 1 or len(table) < 2:
        raise ArtRLError(
            f"a table of alpha_bar must be flat with at least 2 entries, got shape {table.shape}"
        )
    while len(table) > 2 and (table[-1] <= 0 or 1e-6 > table[-1] >= table[-2]):
        table = table[:-1]
    if not ((table > 0) & (table < 1)).all() or not (np.diff(table) < 0).all():
        raise ArtRLError(
            "a table of alpha_bar (alphas_cumprod) must decrease strictly within (0, 1), "
            f"got {table[0]:.6g} ... {table[-1]:.6g}"
        )
    return np.sqrt((1 - table) / table)


def table_indices(sigmas: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Fractional table positions of levels > 0, log-linear between entries; float64, clipped to the ends.

    Args:
        sigmas: levels > 0, any shape.
        table: (N,) increasing levels of `table_sigmas`.
    """
    return np.interp(np.log(sigmas), np.log(table), np.arange(len(table)))


def table_levels(indices: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Levels at fractional table positions; the inverse of `table_indices` within the table."""
    return np.exp(np.interp(indices, np.arange(len(table)), np.log(table)))


def check_below(sigmas: np.ndarray, largest: float, whose: str) -> None:
    """ArtRLError if a level lies above ``largest``: the model's time would be clipped, silently.

    Args:
        sigmas: levels, flat.
        largest: the highest level the model was trained for.
        whose: what sets it, for the message, e.g. "the table of EulerDiscreteScheduler".
    """
    above = np.flatnonzero(np.asarray(sigmas) > largest * (1 + TOLERANCE))
    if len(above):
        raise ArtRLError(
            f"sigmas[{above[0]}] = {sigmas[above[0]]:.6g} lies above {largest:.6g}, where {whose} "
            "ends: the model would be asked for its last time step instead; "
            "learn or make a schedule with a sigma_max of at most that"
        )


def check_distinct(levels: np.ndarray, fault: str) -> None:
    """ArtRLError unless ``levels`` strictly decrease; ``fault`` may hold {levels} and {value}."""
    rising = np.flatnonzero(~(np.diff(levels) < 0))
    if len(rising):
        k = int(rising[0])
        raise ArtRLError(fault.format(levels=f"levels {k} and {k + 1}", value=levels[k + 1]))


def check_close(arrived: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """ArtRLError naming the first level that did not arrive within TOLERANCE (relative; 0 exactly)."""
    if arrived.shape != wanted.shape:
        raise ArtRLError(f"{what}: {len(arrived)} levels arrived instead of {len(wanted)}")
    scale = np.where(wanted == 0, 1e-300, np.abs(wanted))
    off = np.abs(arrived - wanted) / scale
    bad = np.flatnonzero(~(off <= TOLERANCE))
    if len(bad):
        k = int(bad[0])
        raise ArtRLError(
            f"{what}: level {k} arrived as {arrived[k]:.9g} instead of {wanted[k]:.9g} "
            f"(relative difference {off[k]:.2g}, allowed {TOLERANCE:g})"
        )
