"""Measurements as files: arrays with a JSON head in one ``.npz``."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.files import parse_json, read_npz, write_npz

T = TypeVar("T")


def write_measurement(
    path: str | os.PathLike, format: str, head: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Write arrays and a JSON-like ``head`` as one ``.npz``, atomically; ``format`` goes into the head."""
    write_npz(path, head=np.array(json.dumps({"format": format, **head})), **arrays)


def read_measurement(
    path: str | os.PathLike,
    format: str,
    what: str,
    make: Callable[[dict[str, Any], dict[str, Any]], T],
) -> T:
    """``make(head, arrays)`` of what `write_measurement` wrote.

    Raises:
        ArtRLError: the file is missing or damaged, of another format, or what ``make`` refuses; it names the
            file and ``what`` it should be.
    """
    arrays = read_npz(path)
    try:
        head = dict(parse_json(str(arrays.pop("head"))))
        if head.pop("format") != format:
            raise ArtRLError(f"its format is not {format!r}")
        return make(head, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtRLError(f"{path}: not {what} ({error})") from None
