"""Cells: one (model, method, solver, K, seed block), sampled shard by shard and measured.

A shard is a range of one block's seeds.  Each cell of a shard is kept in a file whose name is made from
everything it depends on, so a killed job continues after its last cell, and a new method does not sample
the others again.  Memory is one batch, whatever the block.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.denoisers.base import CountingDenoiser
from art_rl.errors import ArtRLError
from art_rl.files import digest, read_npz, write_npz
from art_rl.flow.reference import reference_solution
from art_rl.flow.seeds import to_uint8
from art_rl.flow.solvers import nfe
from art_rl.registry import METRICS
from art_rl.sampling.experiment import Experiment
from art_rl.sampling.measures import Collector, Measure
from art_rl.sampling.shards import sample_batches
from art_rl.schedules.hand_made import edm
from art_rl.schedules.schedule import Schedule

# Columns of a cells file, in this order; a measure that a model does not have is left out.
COLUMNS = "model method solver K nfe block samples rmse fid fid_all converged w2".split()
COLUMNS += [metric for metric in METRICS if metric not in COLUMNS]
REFERENCE_SOLVER = "rk4"
# Seeds on which the reference's own error is measured by step doubling.
CHECKED = 64


@dataclass
class CellPart:
    """What one shard (or, merged, one seed block) contributes to a cell.

    Attributes:
        seeds: (n,) int64.
        nfe: network calls per sample, counted.
        preview: uint8 (m, *shape), the first m images.
        measured: metric -> arrays of its measure.
    """

    seeds: np.ndarray
    nfe: int
    preview: np.ndarray
    measured: dict[str, dict[str, np.ndarray]]

    def save(self, path: str | os.PathLike, **more: np.ndarray) -> None:
        """Write as ``.npz``, atomically, with ``more`` arrays beside."""
        nfe = np.array(self.nfe, np.int64)
        arrays = {"seeds": self.seeds, "nfe": nfe, "preview": self.preview, **more}
        for metric, values in self.measured.items():
            arrays |= {f"{metric}.{name}": value for name, value in values.items()}
        # Compression pays for images, not for sums of features: seconds for a cell of Inception.
        large = any(a.dtype.kind == "f" and a.size > 10**6 for a in arrays.values())
        write_npz(path, compressed=not large, **arrays)

    def only(self, metric: str) -> "CellPart":
        """The same samples with what one metric measured of them."""
        return replace(self, measured={metric: self.measured[metric]})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "CellPart":
        """Read what ``save`` wrote; ArtRLError if it is something else."""
        arrays = read_npz(path)
        if not {"seeds", "nfe", "preview"} <= set(arrays):
            raise ArtRLError(f"{path}: not the part of a cell; found {sorted(arrays)}")
        measured: dict[str, dict[str, np.ndarray]] = {}
        for name, value in arrays.items():
            metric, dot, key = name.partition(".")
            if dot:
                measured.setdefault(metric, {})[key] = value
        return cls(arrays["seeds"], int(arrays["nfe"]), arrays["preview"], measured)


def measure_seeds(
    experiment: Experiment,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    measures: Sequence[Collector],
    batch_size: int,
    preview: int = 0,
    watch: Callable[[Sequence[int], Tensor], None] | None = None,
    kept_as: torch.dtype = torch.float64,
) -> CellPart:
    """Sample ``seeds`` and keep only what the measures collect.

    Args:
        preview: keep the first so many images as uint8.
        watch: also given (seeds, x) of every batch.
        kept_as: measures see endpoints rounded to this dtype, in which they are kept elsewhere.

    Raises:
        ArtRLError: an endpoint is not finite; the counted network calls are not the solver's.
    """
    seeds, shape = list(seeds), experiment.denoiser.shape
    kept = np.empty((min(preview, len(seeds)), *shape), dtype=np.uint8)
    counting, batches = CountingDenoiser(experiment.denoiser), 0
    for part, x in sample_batches(
        counting, schedule, solver, seeds, batch_size, start=experiment.start
    ):
        batches += 1
        for measure in measures:
            measure.update(seeds[part], x.to(kept_as).double())
        if watch is not None:
            watch(seeds[part], x)
        rows = kept[part]
        if len(rows):
            rows[:] = to_uint8(x[: len(rows)]).cpu().numpy()
    calls, expected = counting.calls // batches, nfe(solver, schedule.K)
    if calls != expected:
        raise ArtRLError(
            f"{schedule.method}, {solver}, K = {schedule.K}: counted {calls} network "
            f"calls, expected {expected}"
        )
    measured = {measure.metric: measure.collect() for measure in measures}
    return CellPart(np.array(seeds, np.int64), calls, kept, measured)


def cell_file(
    folder: str | os.PathLike,
    experiment: Experiment,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    measures: Sequence[Measure],
    key: Any,
) -> Path:
    """Where a cell of a shard is kept: a name made from everything it depends on.

    Args:
        key: JSON-like; what it depends on beside the other arguments, such as digests of code, of the
            reference and the batch size.
    """
    name = digest(
        [
            [*schedule.sigmas, *(schedule.network_levels or ())],
            experiment.denoiser.digest,
            [[measure.metric, measure.digest] for measure in measures],
            solver,
            [seeds[0], seeds[-1]],
            str(experiment.device),
            key,
        ]
    )
    return Path(folder) / f"{name[:24]}.npz"


def merge_parts(parts: Iterable[CellPart], measures: Sequence[Measure]) -> CellPart:
    """Shards of one cell in seed order; ArtRLError if they overlap or do not belong together."""
    parts = sorted(parts, key=lambda part: int(part.seeds[0]))
    if not parts:
        raise ArtRLError("no shards to merge")
    seeds = np.concatenate([part.seeds for part in parts])
    if len(np.unique(seeds)) != len(seeds):
        raise ArtRLError("shards overlap: a seed occurs twice")
    if len({part.nfe for part in parts}) > 1:
        raise ArtRLError("shards differ in their NFE: they are not of one cell")
    metrics = {measure.metric for measure in measures}
    if any(set(part.measured) != metrics for part in parts):
        raise ArtRLError(
            f"shards differ in what was measured, wanted {', '.join(sorted(metrics))}: sample again"
        )
    return CellPart(
        seeds,
        parts[0].nfe,
        np.concatenate([part.preview for part in parts]),
        {m.metric: m.merge([part.measured[m.metric] for part in parts]) for m in measures},
    )


def reference_shard(
    experiment: Experiment,
    seeds: Sequence[int],
    steps: int,
    measures: Sequence[Measure],
    batch_size: int,
    preview: int = 0,
) -> tuple[CellPart, np.ndarray]:
    """The fine solution (RK4 on EDM's grid, see `art_rl.flow.reference`) from the noise of ``seeds``.

    Returns:
        (what the measures but the endpoint error say of it, endpoints (n, *shape): float64 of exact
        models, float32 of networks, which compute in it).
    """
    dtype = torch.float64 if experiment.block else torch.float32
    grid = Schedule(
        tuple(edm(steps, experiment.sigma_max, experiment.sigma_min)),
        {"method": "reference", "budget": steps},
    )
    ends: list[Tensor] = []

    def keep(_: Sequence[int], x: Tensor) -> None:
        ends.append(x.to(dtype).cpu())

    part = measure_seeds(
        experiment, grid, REFERENCE_SOLVER, seeds, measures, batch_size, preview, keep, dtype
    )
    return part, torch.cat(ends).numpy()


def reference_error(experiment: Experiment, seeds: Sequence[int], steps: int) -> float:
    """RMSE of the reference solution against one of half its steps' size, on the first seeds."""
    x, labels = experiment.start(seeds)
    x, labels = x[:CHECKED], None if labels is None else labels[:CHECKED]
    high, low = experiment.sigma_max, experiment.sigma_min
    solution = reference_solution(
        experiment.denoiser, x, high, labels, steps, sigma_min=low, check=len(x)
    )
    return given(solution.error, "the reference's error")


def check_schedule(schedule: Schedule, experiment: Experiment) -> None:
    """Raise ArtRLError unless the schedule starts at the model's sigma_max and was made for it.

    Schedules carried over from another model say so with the method "transfer_data".
    """
    name = f"{schedule.method}, K = {schedule.K}"
    if not np.isclose(schedule.sigma_max, experiment.sigma_max, rtol=1e-12, atol=0):
        raise ArtRLError(
            f"{name}: the schedule starts at sigma = {schedule.sigma_max}, "
            f"{experiment.name} at sigma_max = {experiment.sigma_max}"
        )
    made_for, own = schedule.provenance.get("model_digest"), experiment.denoiser.digest
    carried = schedule.method == "transfer_data"
    if made_for is not None and made_for != own and not carried:
        raise ArtRLError(
            f"{name}: the schedule was made for model {made_for[:12]}, {experiment.name} is {own[:12]}"
        )


def cell_row(schedule: Schedule, values: Mapping[str, float], **where: Any) -> dict[str, Any]:
    """One row of the cells file; ``where``: model, solver, block, samples, nfe.

    ``converged`` is the learner's own verdict (True if nothing learned).
    """
    found = {"method": schedule.method, "K": schedule.K, "converged": schedule.converged}
    row: Mapping[str, Any] = {**found, **where, **values}
    return {name: row[name] for name in COLUMNS if name in row}


def values_of(part: CellPart, measures: Sequence[Measure]) -> dict[str, float]:
    """Metric -> number of a whole seed block."""
    return {measure.metric: measure.value(part.measured[measure.metric]) for measure in measures}
