"""Sampling by seed: shards, reference endpoints, and measurements streamed without keeping images.

The starting state of seed s is sigma_0 times the latent of s (seeds.py), so an image depends on its
seed, not on the shard, the batch or the job.  What remains is rounding: network kernels may add in
another order for another batch size.  Every network call here therefore has exactly ``batch_size``
rows, the last batch of a shard filled up with copies, and for one batch size results on a CPU are the
same bits in any split of the seeds.  (Between batch sizes: see docs/image_models.md for measurements.)

A cell of a table (model, schedule, solver, seed block) is the sum of its shards: feature moments in
float64, one squared endpoint error per seed, counts.  Memory is one batch, whatever the block.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.denoisers.base import CountingDenoiser, Denoiser
from art_rl.errors import ArtRLError
from art_rl.files import read_npz, write_npz
from art_rl.flow.seeds import SeedNoise, one_hot, to_uint8
from art_rl.flow.solvers import nfe as nominal_nfe
from art_rl.flow.solvers import solve
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import Moments
from art_rl.metrics.frechet import merge as merge_moments
from art_rl.schedules.schedule import Schedule


def split_seeds(first: int, count: int, shard_size: int) -> list[range]:
    """Seeds first .. first + count - 1 as consecutive shards of at most ``shard_size``."""
    if count < 1 or shard_size < 1:
        raise ArtRLError(f"count and shard_size must be at least 1, got {count} and {shard_size}")
    stop = first + count
    return [range(a, min(a + shard_size, stop)) for a in range(first, stop, shard_size)]


def sample_batches(
    denoiser: Denoiser,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    batch_size: int = 250,
    class_index: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Iterator[tuple[slice, Tensor]]:
    """Samples of consecutive batches of ``seeds``.

    Args:
        denoiser: the model; conditional ones get each seed's own label (drawn after its latent).
        schedule, solver: how to integrate.
        seeds: integers, at least one.
        batch_size: rows of every network call.
        class_index: one class for all seeds instead of their own (the label is drawn all the same).
        device: where latents are drawn and the network runs.

    Yields:
        (slice into ``seeds``, endpoint x (B, *shape) float64 on ``device``), not clipped.

    Raises:
        ArtRLError: no seeds, bad batch size, a class for an unconditional model or out of range, or an
            endpoint that is not finite (seed named).
    """
    seeds = list(seeds)
    if batch_size < 1:
        raise ArtRLError(f"batch_size must be at least 1, got {batch_size}")
    if not seeds:
        raise ArtRLError("seeds must hold at least one seed, got none")
    for start in tqdm(range(0, len(seeds), batch_size), desc="sampling", disable=not progress):
        part = slice(start, min(start + batch_size, len(seeds)))
        chosen = seeds[part]
        noise = SeedNoise(chosen, denoiser.shape, denoiser.label_dim, device)
        labels = noise.class_labels
        if class_index is not None:
            labels = one_hot([class_index] * len(chosen), denoiser.label_dim).to(device)
        x = noise.latents.double() * schedule.sigma_max
        fill = batch_size - len(chosen)
        if fill:
            x = torch.cat([x, x[-1:].expand(fill, *x.shape[1:])])
            if labels is not None:
                labels = torch.cat([labels, labels[-1:].expand(fill, -1)])
        with torch.no_grad():
            x = solve(denoiser, x, schedule, solver, labels)[: len(chosen)]
        finite = torch.isfinite(x).flatten(1).all(1)
        if not finite.all():
            bad = chosen[int(torch.nonzero(~finite)[0])]
            raise ArtRLError(
                f"seed {bad}: the endpoint is not finite with {solver} and K = {schedule.K}"
            )
        yield part, x


def sample_shard(
    path: str | os.PathLike,
    denoiser: Denoiser,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    dtype: str = "uint8",
    **options: object,
) -> None:
    """Write one shard of images: ``.npz`` with seeds (n,) int64, images (n, *shape), nfe.

    Args:
        path: the file, written whole or not at all.
        dtype: "uint8" (official conversion; clips) or "float32" (the endpoint as it is).
        options: of ``sample_batches``.
    """
    if dtype not in ("uint8", "float32"):
        raise ArtRLError(f"dtype must be uint8 or float32, got {dtype!r}")
    seeds = list(seeds)
    images = np.empty((len(seeds), *denoiser.shape), dtype=dtype)
    counting = CountingDenoiser(denoiser)
    for part, x in sample_batches(counting, schedule, solver, seeds, **options):
        pixels = to_uint8(x) if dtype == "uint8" else x.float()
        images[part] = pixels.cpu().numpy()
    write_npz(
        path,
        seeds=np.array(seeds, dtype=np.int64),
        images=images,
        nfe=np.int64(nominal_nfe(solver, schedule.K)),
    )


def load_shard(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(seeds (n,), images (n, *shape)) of a shard file; ArtRLError if it is not one."""
    arrays = read_npz(path)
    if not {"seeds", "images"} <= set(arrays) or len(arrays["seeds"]) != len(arrays["images"]):
        raise ArtRLError(f"{path}: a shard holds seeds and as many images; found {sorted(arrays)}")
    return arrays["seeds"], arrays["images"]


class Endpoints:
    """Reference endpoints by seed, from shard files of ``reference_shard`` (float32)."""

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        self._row: dict[int, tuple[int, int]] = {}
        self._images: list[np.ndarray] = []
        for path in paths:
            seeds, images = load_shard(path)
            if images.dtype != np.float32:
                raise ArtRLError(f"{path}: reference endpoints must be float32, got {images.dtype}")
            for row, seed in enumerate(seeds.tolist()):
                self._row[seed] = len(self._images), row
            self._images.append(images)

    def __call__(self, seeds: Sequence[int]) -> Tensor:
        """float64 (n, *shape); ArtRLError for a seed without a reference."""
        missing = [seed for seed in seeds if seed not in self._row]
        if missing:
            raise ArtRLError(f"no reference endpoint for seed {missing[0]}")
        rows = (self._row[seed] for seed in seeds)
        return torch.from_numpy(np.stack([self._images[a][b] for a, b in rows])).double()


def reference_shard(
    path: str | os.PathLike,
    denoiser: Denoiser,
    schedule: Schedule,
    seeds: Sequence[int],
    solver: str = "heun",
    **options: object,
) -> None:
    """Endpoints of a fine solution from the same noise, float32, not clipped; see ``sample_shard``.

    Args:
        schedule: a fine one (at least 100 steps), starting at the sigma_max of the cells compared.
    """
    sample_shard(path, denoiser, schedule, solver, seeds, dtype="float32", **options)


@dataclass
class CellPart:
    """What one shard (or, merged, one seed block) contributes to a cell.

    Attributes:
        seeds: (n,) int64.
        moments: of the features of all n images, or None.
        squared_error: float64 (n,), mean over pixels of (x - reference)^2 per seed, unclipped, or None.
        nfe: network calls per image, counted.
        preview: uint8 (m, *shape), the first m images.
    """

    seeds: np.ndarray
    moments: Moments | None
    squared_error: np.ndarray | None
    nfe: int
    preview: np.ndarray

    @property
    def rmse(self) -> float:
        """Endpoint RMSE over all seeds and pixels."""
        if self.squared_error is None:
            raise ArtRLError("this cell was measured without reference endpoints: no RMSE")
        return float(np.sqrt(self.squared_error.mean()))

    def save(self, path: str | os.PathLike) -> None:
        """Write as ``.npz``, atomically."""
        arrays = {"seeds": self.seeds, "nfe": np.int64(self.nfe), "preview": self.preview}
        if self.moments is not None:
            arrays |= {"total": self.moments.total, "outer": self.moments.outer}
        if self.squared_error is not None:
            arrays["squared_error"] = self.squared_error
        # 2048 Inception features: 34 MB per cell, on which compression would cost seconds for nothing.
        large = self.moments is not None and self.moments.dim > 1000
        write_npz(path, compressed=not large, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "CellPart":
        """Read what ``save`` wrote; ArtRLError if it is something else."""
        arrays = read_npz(path)
        if not {"seeds", "nfe", "preview"} <= set(arrays):
            raise ArtRLError(f"{path}: not the part of a cell; found {sorted(arrays)}")
        moments = None
        if "total" in arrays:
            moments = Moments(len(arrays["seeds"]), arrays["total"], arrays["outer"])
        return cls(
            arrays["seeds"],
            moments,
            arrays.get("squared_error"),
            int(arrays["nfe"]),
            arrays["preview"],
        )


def measure_seeds(
    denoiser: Denoiser,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    features: Features | None = None,
    reference: Endpoints | None = None,
    preview: int = 0,
    **options: object,
) -> CellPart:
    """Sample ``seeds`` and keep only features' moments and endpoint errors.

    Args:
        features: feature extractor; images are converted to uint8 (and so clipped) for it alone.
        reference: endpoints from the same noise; errors are of the unclipped float64 samples.
        preview: keep the first so many images as uint8.
        options: of ``sample_batches``.

    Raises:
        ArtRLError: as ``sample_batches``; a seed has no reference.
    """
    seeds = list(seeds)
    moments = None if features is None else Moments.empty(features.dim)
    errors = None if reference is None else np.empty(len(seeds))
    kept = np.empty((min(preview, len(seeds)), *denoiser.shape), dtype=np.uint8)
    counting = CountingDenoiser(denoiser)
    batches = 0
    for part, x in sample_batches(counting, schedule, solver, seeds, **options):
        batches += 1
        if reference is not None:
            wanted = reference(seeds[part]).to(x.device)
            errors[part] = ((x - wanted) ** 2).flatten(1).mean(1).cpu().numpy()
        if features is not None or part.start < len(kept):
            pixels = to_uint8(x)
            if moments is not None:
                moments.update(features(pixels).numpy())
            rows = kept[part]
            rows[:] = pixels[: len(rows)].cpu().numpy()
    return CellPart(np.array(seeds, np.int64), moments, errors, counting.calls // batches, kept)


def merge_parts(parts: Iterable[CellPart]) -> CellPart:
    """Shards of one cell in seed order; ArtRLError if they overlap or do not belong together."""
    parts = sorted(parts, key=lambda part: int(part.seeds[0]))
    if not parts:
        raise ArtRLError("no shards to merge")
    seeds = np.concatenate([part.seeds for part in parts])
    if len(np.unique(seeds)) != len(seeds):
        raise ArtRLError("shards overlap: a seed occurs twice")
    if len({part.nfe for part in parts}) > 1:
        raise ArtRLError("shards differ in their NFE: they are not of one cell")
    have = {(part.moments is None, part.squared_error is None) for part in parts}
    if len(have) > 1:
        raise ArtRLError(
            "shards differ in what was measured: all need features and reference alike"
        )
    no_moments, no_errors = have.pop()
    return CellPart(
        seeds,
        None if no_moments else merge_moments(part.moments for part in parts),
        None if no_errors else np.concatenate([part.squared_error for part in parts]),
        parts[0].nfe,
        np.concatenate([part.preview for part in parts]),
    )
