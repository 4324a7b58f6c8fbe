"""Schedule.to: the levels as another library wants them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from art_rl.checks import check_one_of
from art_rl.errors import ArtRLError
from art_rl.schedules.handover.azula import noise_schedule
from art_rl.schedules.handover.conversions import (
    check_below,
    check_close,
    check_distinct,
    flow_sigmas,
    flow_times,
    reshift,
    table_indices,
    table_levels,
    table_sigmas,
    unshift,
)
from art_rl.schedules.handover.diffusers import scheduler_table

KINDS = ("sigmas", "timesteps", "flow", "azula")


def convert(sigmas: np.ndarray, kind: str, **options: Any) -> Any:
    """The K + 1 levels ``sigmas`` as ``kind``; options and results in Schedule.to.

    Raises:
        ArtRLError: unknown kind or option; a level that ``kind`` cannot hold.
    """
    converters: dict[str, Callable[..., Any]] = {
        "sigmas": _sigmas,
        "timesteps": _timesteps,
        "flow": _flow,
        "azula": noise_schedule,
    }
    check_one_of("kind", kind, KINDS)
    try:
        return converters[kind](np.asarray(sigmas, dtype=np.float64), **options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ArtRLError(f"to({kind!r}): {str(error).split('() ')[-1]}") from None


def _sigmas(sigmas: np.ndarray, *, like: Any = None) -> Any:
    """float64 (K + 1,), or a tensor of the dtype and device of the tensor ``like``."""
    if like is None:
        return sigmas
    if not hasattr(like, "new_tensor"):
        raise ArtRLError(f"like must be a torch tensor such as x, got {type(like).__name__}")
    levels = like.new_tensor(sigmas.tolist())
    arrived = np.array(levels.double().tolist())
    check_distinct(
        arrived, f"{{levels}} are one number in {like.dtype}; use a dtype of more digits"
    )
    return levels


def _timesteps(
    sigmas: np.ndarray, *, scheduler: Any = None, table: Any = None, rounded: bool = False
) -> np.ndarray:
    """(K,) table positions, float64, or int64 with ``rounded``; see Schedule.to."""
    if (scheduler is None) == (table is None):
        raise ArtRLError(
            "timesteps belong to a table: give scheduler= (a diffusers scheduler or its config) "
            "or table= (alphas_cumprod), one of the two"
        )
    levels = scheduler_table(scheduler) if table is None else table_sigmas(table)
    check_below(sigmas, levels[-1], "the table")
    inner = sigmas[:-1]
    below = np.flatnonzero(inner < levels[0] * (1 - 1e-6))
    if len(below) and not rounded:
        k = int(below[0])
        raise ArtRLError(
            f"sigmas[{k}] = {inner[k]:.6g} lies below {levels[0]:.6g}, where the table begins: no "
            'time step stands for it; hand the levels over instead (apply, or to("sigmas"))'
        )
    indices = table_indices(inner, levels)
    if not rounded:
        check_close(table_levels(indices, levels), inner, "timesteps read back")
        return indices
    whole = np.rint(indices).astype(np.int64)
    check_distinct(
        whole,
        "{levels} round to the time step {value}: whole time steps cannot hold this schedule; use "
        "rounded=False or apply(scheduler)",
    )
    return whole


def _flow(sigmas: np.ndarray, *, shift: float = 1.0, mu: float | None = None) -> np.ndarray:
    """(K,) flow times before the scheduler's own shift, float64, without the final 0."""
    times = flow_times(sigmas[:-1])
    before = unshift(times, shift, mu)
    check_close(flow_sigmas(reshift(before, shift, mu)), sigmas[:-1], "flow times read back")
    return before
