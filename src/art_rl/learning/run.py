"""The loop of every learner: iterate, log, keep a state file, resume.

A killed run continues from its state file and ends with the same numbers, metrics included.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from tqdm import tqdm

from art_rl.denoisers.tensors import read_tensors, write_tensors
from art_rl.files import write_text

__all__ = ["Job", "MetricsLog", "run"]

FORMAT = "art_rl.learning.state"


class Job(Protocol):
    """What can be run.

    Attributes:
        identity: digest of all that decides the numbers.
        checkpoint_every: iterations between state files.
    """

    identity: str
    checkpoint_every: int

    @property
    def evaluations(self) -> int:
        """Network evaluations spent so far."""

    def step(self) -> dict[str, Any] | None:
        """One iteration; its metrics, or None when done."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON-like head that `restore` continues from."""

    def restore(self, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
        """Continue from `state`."""


def run(
    job: Job,
    *,
    metrics_path: str | os.PathLike | None = None,
    state_path: str | os.PathLike | None = None,
    progress: bool = False,
) -> None:
    """Step ``job`` to its end.

    Args:
        metrics_path: JSON lines, one per iteration; None: none.
        state_path: safetensors file, written every ``job.checkpoint_every`` iterations; one of the same
            identity, whose metrics are all there, is continued.  Any other is left out and overwritten.

    Raises:
        ArtRLError: the state file is damaged, or what ``job.step`` raises.
    """
    lines, before, began = 0, 0.0, time.perf_counter()
    if state_path is not None and Path(state_path).exists():
        tensors, head = read_tensors(state_path, FORMAT)
        if head["identity"] == job.identity and _has_lines(metrics_path, head["lines"]):
            job.restore(tensors, head["job"])
            lines, before = head["lines"], head["seconds"]
    log = MetricsLog(metrics_path, lines)

    def seconds() -> float:
        return round(before + time.perf_counter() - began, 3)

    def save() -> None:
        if state_path is not None:
            tensors, head = job.state()
            counters = {"identity": job.identity, "lines": log.lines, "seconds": seconds()}
            write_tensors(state_path, tensors, {"format": FORMAT, **counters, "job": head})

    with tqdm(initial=lines, disable=not progress, unit=" iterations") as bar:
        while (metrics := job.step()) is not None:
            log.write({**metrics, "evaluations": job.evaluations, "seconds": seconds()})
            bar.update()
            if log.lines % job.checkpoint_every == 0:
                save()
    save()


def _has_lines(path: str | os.PathLike | None, lines: int) -> bool:
    """Whether a metrics file still holds what a state file says was written; True without a path."""
    if path is None:
        return True
    return lines == 0 or (
        Path(path).exists() and len(Path(path).read_bytes().splitlines()) >= lines
    )


class MetricsLog:
    """JSON lines, one per iteration; lines written after the state file are dropped on resume."""

    def __init__(self, path: str | os.PathLike | None, lines: int) -> None:
        self.path = None if path is None else Path(path)
        self.lines = lines
        if self.path is not None:
            old = self.path.read_text(encoding="utf-8") if lines else ""
            write_text(self.path, "".join(old.splitlines(keepends=True)[:lines]))

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        self.lines += 1
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values, allow_nan=False) + "\n")
