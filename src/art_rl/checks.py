"""Rules that settings share, and how their faults are said."""

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from art_rl.errors import ArtRLError

T = TypeVar("T")


def check_whole(name: str, value: Any, least: int) -> int:
    """Return ``value`` if it is an integer of at least ``least`` (True and False are none), or ArtRLError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArtRLError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_one_of(name: str, value: Any, known: Iterable[Any]) -> None:
    """ArtRLError unless ``value`` is one of ``known``, which it lists."""
    known = list(known)
    if value not in known:
        raise ArtRLError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def check_known(what: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is among the ``known`` of its kind, which the ArtRLError lists else."""
    known = list(known)
    if name not in known:
        raise ArtRLError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    return name


def check_seed(seed: Any) -> int:
    """Return ``seed`` if torch's generators take it, a whole number in 0 .. 2^63 - 1; else ArtRLError."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ArtRLError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    return int(seed)


def check_budget(K: int) -> int:
    """Return K if it is a whole number of at least 1, else raise ArtRLError."""
    return check_whole("K (number of steps)", K, 1)


def check_budgets(budgets: Any) -> list[int]:
    """Numbers of steps, ascending, each once; ArtRLError for an empty list, or as `check_budget`."""
    if isinstance(budgets, str) or not isinstance(budgets, Iterable) or not (found := [*budgets]):
        raise ArtRLError(
            f"budgets must be a non-empty list of numbers of steps such as [5, 10], got {budgets!r}"
        )
    return sorted({check_budget(K) for K in found})


def given(value: T | None, name: str) -> T:
    """``value``, where the caller's settings promise that it is there.

    Raises:
        ArtRLError: it is None.
    """
    if value is None:
        raise ArtRLError(f"{name} must be given here, got None")
    return value
