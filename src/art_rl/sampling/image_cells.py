"""Cells of image models: shards of seeds to LeNet-FID and endpoint RMSE.

    fid     Frechet distance of LeNet features (uint8 images) to the training set: the model's error, the
            discretisation error and sampling noise together
    rmse    root mean square, over seeds and pixels, of the difference between a sample (unclipped)
            and the fine reference solution from the same noise: the discretisation error alone

Seed block b of n images has the seeds b n .. (b + 1) n - 1, the same in every cell, so cells are
paired.  A shard is a range of one block's seeds with one solver: all methods and budgets in one job.
Each cell of a shard is kept in a folder under a name made from everything it depends on, so a killed
job continues after its last cell, and a new method does not sample the others again.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.files import digest, read_npz, write_npz
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.sampling.shards import CellPart, Endpoints, measure_seeds, merge_parts, split_seeds
from art_rl.schedules.hand_made import edm
from art_rl.schedules.schedule import Schedule

Cell = tuple[str, int]


def shard_seeds(samples: int, shard_size: int, block: int, shard: int) -> range:
    """Seeds of one shard of a seed block; ArtRLError if there is no such shard."""
    shards = split_seeds(block * samples, samples, shard_size)
    if not 0 <= shard < len(shards):
        raise ArtRLError(f"shard must be in 0..{len(shards) - 1}, got {shard}")
    return shards[shard]


def reference_grid(steps: int, sigma_max: float, sigma_min: float) -> Schedule:
    """The fine schedule of reference solutions: EDM's grid, rho = 7 (see art_rl.flow.reference)."""
    return Schedule(tuple(edm(steps, sigma_max, sigma_min)), {"method": "edm", "budget": steps})


def check_schedule(schedule: Schedule, sigma_max: float, model_digest: str) -> None:
    """Raise ArtRLError unless the schedule starts at ``sigma_max`` and was made for this model.

    Schedules carried over from another model say so with the method "transfer_data".
    """
    name = f"{schedule.provenance.get('method')}, K = {schedule.K}"
    if not np.isclose(schedule.sigma_max, sigma_max, rtol=1e-12, atol=0):
        raise ArtRLError(
            f"{name}: the schedule starts at sigma = {schedule.sigma_max}, the model at {sigma_max}"
        )
    made_for = schedule.provenance.get("model_digest")
    carried = schedule.provenance.get("method") == "transfer_data"
    if made_for is not None and made_for != model_digest and not carried:
        raise ArtRLError(
            f"{name}: the schedule was made for model {made_for[:12]}, this one is {model_digest[:12]}"
        )


def measure_shard(
    denoiser: Denoiser,
    schedules: Mapping[Cell, Schedule],
    solver: str,
    seeds: Sequence[int],
    features: Features,
    reference: Endpoints,
    batch_size: int,
    preview: int = 0,
    folder: str | os.PathLike | None = None,
    key: Any = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[Cell, CellPart]:
    """All cells of one shard.

    Args:
        schedules: (method, K) -> schedule.
        seeds: of the shard.
        features: LeNet features.
        reference: endpoints of the fine solution for these seeds.
        batch_size: rows per network call.
        preview: images kept per cell.
        folder: where finished cells are kept; None keeps none.
        key: JSON-like; what cells depend on beside schedule, model, features, solver, seeds, batch
            (e.g. digests of code and of the reference).

    Raises:
        ArtRLError: an endpoint is not finite, or a seed has no reference.
    """
    return {
        cell: CellPart.load(path) if part is None else part
        for cell, path, part in measure_cells(
            denoiser,
            schedules,
            solver,
            seeds,
            features,
            batch_size,
            reference=reference,
            preview=preview,
            folder=folder,
            key=key,
            device=device,
            progress=progress,
        )
    }


def measure_cells(
    denoiser: Denoiser,
    schedules: Mapping[Cell, Schedule],
    solver: str,
    seeds: Sequence[int],
    features: Features,
    batch_size: int,
    *,
    reference: Endpoints | None = None,
    preview: int = 0,
    folder: str | os.PathLike | None = None,
    key: Any = None,
    device: str = "cpu",
    progress: bool = True,
) -> Iterator[tuple[Cell, Path | None, CellPart | None]]:
    """`measure_shard` one cell at a time, so that a caller need not hold them all.

    Args:
        reference: as in `measure_shard`, or None to measure no endpoint errors.

    Yields:
        (cell, its file or None without a folder, its part or None if the file was there already).
    """
    for cell, schedule in tqdm(schedules.items(), desc=f"cells {solver}", disable=not progress):
        name = digest(
            [
                list(schedule.sigmas),
                denoiser.digest,
                features.digest,
                solver,
                [seeds[0], seeds[-1]],
                batch_size,
                preview,
                str(device),
                key,
            ]
        )
        path = None if folder is None else Path(folder) / f"{name[:24]}.npz"
        if path is not None and path.exists():
            yield cell, path, None
            continue
        part = measure_seeds(
            denoiser,
            schedule,
            solver,
            seeds,
            features=features,
            reference=reference,
            preview=preview,
            batch_size=batch_size,
            device=device,
        )
        if path is not None:
            part.save(path)
        yield cell, path, part


def save_parts(path: str | os.PathLike, parts: Mapping[Cell, CellPart]) -> None:
    """Write the cells of one shard as one ``.npz``, atomically."""
    values = list(parts.values())
    if not values:
        raise ArtRLError("a shard without cells: no table asks for this solver")
    write_npz(
        path,
        cells=np.array(json.dumps([list(cell) for cell in parts])),
        seeds=values[0].seeds,
        nfe=np.array([part.nfe for part in values]),
        total=np.stack([part.moments.total for part in values]),
        outer=np.stack([part.moments.outer for part in values]),
        squared_error=np.stack([part.squared_error for part in values]),
        preview=np.stack([part.preview for part in values]),
    )


def load_parts(path: str | os.PathLike) -> dict[Cell, CellPart]:
    """Read what `save_parts` wrote; ArtRLError naming the file if it is something else."""
    arrays = read_npz(path)
    try:
        cells = [(str(method), int(K)) for method, K in json.loads(str(arrays["cells"]))]
        seeds = arrays["seeds"]
        return {
            cell: CellPart(
                seeds,
                Moments(len(seeds), arrays["total"][i], arrays["outer"][i]),
                arrays["squared_error"][i],
                int(arrays["nfe"][i]),
                arrays["preview"][i],
            )
            for i, cell in enumerate(cells)
        }
    except (KeyError, ValueError, IndexError) as error:
        raise ArtRLError(f"{path}: not a shard of cells ({error})") from None


def cell_rows(
    model: str,
    solver: str,
    blocks: Sequence[Sequence[Mapping[Cell, CellPart]]],
    train: Moments,
    converged: Mapping[Cell, bool],
) -> list[dict[str, Any]]:
    """One row per cell and seed block, for the cells file.

    Args:
        blocks: per seed block its shards, from `load_parts`.
        train: feature moments of the training set.
        converged: verdict of the learner behind a schedule (True if nothing was learned).

    Raises:
        ArtRLError: shards of a block hold different cells.
    """
    rows = []
    for block, shards in enumerate(blocks):
        for shard in shards[1:]:
            if set(shard) != set(shards[0]):
                raise ArtRLError(f"shards of block {block} hold different cells; sample again")
        for cell in shards[0]:
            part = merge_parts(shard[cell] for shard in shards)
            method, K = cell
            rows.append(
                {
                    "model": model,
                    "method": method,
                    "solver": solver,
                    "K": K,
                    "nfe": part.nfe,
                    "block": block,
                    "samples": len(part.seeds),
                    "rmse": part.rmse,
                    "fid": frechet_between(part.moments, train),
                    "converged": converged[cell],
                }
            )
    return rows
