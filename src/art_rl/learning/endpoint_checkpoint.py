"""Checkpoint of an endpoint run: finished budgets, the learner in progress, and the counters."""

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from art_rl.files import write_text
from art_rl.learning.storage import read_tensors, write_tensors

FORMAT = "art_rl.control.endpoint_checkpoint"


def save_checkpoint(
    path: str | os.PathLike | None, tensors: dict[str, Tensor], head: dict[str, Any]
) -> None:
    """Write atomically; does nothing without a path."""
    if path is not None:
        write_tensors(path, tensors, {"format": FORMAT, **head})


def load_checkpoint(
    path: str | os.PathLike | None, identity: str
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a checkpoint of the run ``identity``.

    None if there is no file, or one of other settings or data: that run starts anew.

    Raises:
        ArtRLError: the file is damaged.
    """
    if path is None or not Path(path).exists():
        return None
    tensors, head = read_tensors(path, FORMAT)
    return (tensors, head) if head.get("identity") == identity else None


class MetricsLog:
    """JSON lines, one per iteration; lines written after the last checkpoint are dropped on resume."""

    def __init__(self, path: str | os.PathLike | None, lines: int) -> None:
        self.path = None if path is None else Path(path)
        self.lines = lines
        if self.path is not None:
            old = self.path.read_text(encoding="utf-8") if lines and self.path.exists() else ""
            write_text(self.path, "".join(old.splitlines(keepends=True)[:lines]))

    def write(self, values: dict[str, Any]) -> None:
        self.lines += 1
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values, allow_nan=False) + "\n")
