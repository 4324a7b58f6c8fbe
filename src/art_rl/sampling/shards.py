"""Sampling by seed: shards of seeds, and samples batch by batch.

An image depends on its seed (`art_rl.sampling.experiment.Experiment.start`), not on the shard, the batch or
the job.  What remains is rounding: network kernels may add in another order for another batch size.
Every network call here therefore has exactly ``batch_size`` rows, the last batch of a shard filled up with
copies, and for one batch size results on a CPU are the same bits in any split of the seeds.  (Between
batch sizes: see docs/image_models.md for measurements.)
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise
from art_rl.flow.solvers import solve
from art_rl.schedules.schedule import Schedule

Start = Callable[[Sequence[int]], tuple[Tensor, Tensor | None]]


def split_seeds(first: int, count: int, shard_size: int) -> list[range]:
    """Seeds first .. first + count - 1 as consecutive shards of at most ``shard_size``."""
    if count < 1 or shard_size < 1:
        raise ArtRLError(f"count and shard_size must be at least 1, got {count} and {shard_size}")
    stop = first + count
    return [range(a, min(a + shard_size, stop)) for a in range(first, stop, shard_size)]


def shard_seeds(samples: int, shard_size: int, block: int, shard: int) -> range:
    """Seeds of one shard of a seed block; ArtRLError if there is no such shard.

    Seed block b of n samples has the seeds b n .. (b + 1) n - 1, the same in every cell, so cells are
    paired.
    """
    shards = split_seeds(block * samples, samples, shard_size)
    if not 0 <= shard < len(shards):
        raise ArtRLError(f"shard must be in 0..{len(shards) - 1}, got {shard}")
    return shards[shard]


def sample_batches(
    denoiser: Denoiser,
    schedule: Schedule,
    solver: str,
    seeds: Sequence[int],
    batch_size: int = 250,
    device: torch.device | str = "cpu",
    start: Start | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Samples of consecutive batches of ``seeds``.

    Args:
        denoiser: the model; conditional ones get each seed's own label (drawn after its latent).
        schedule, solver: how to integrate.
        seeds: integers, at least one.
        batch_size: rows of every network call.
        device: where latents are drawn and the network runs.
        start: seeds -> (x, labels); default: sigma_0 times the latent of each seed, and its own label.

    Yields:
        (slice into ``seeds``, endpoint x (B, *shape) float64 on ``device``), not clipped.

    Raises:
        ArtRLError: no seeds, bad batch size, or an endpoint that is not finite (seed named).
    """
    seeds = list(seeds)
    if batch_size < 1:
        raise ArtRLError(f"batch_size must be at least 1, got {batch_size}")
    if not seeds:
        raise ArtRLError("seeds must hold at least one seed, got none")
    for first in range(0, len(seeds), batch_size):
        part = slice(first, min(first + batch_size, len(seeds)))
        chosen = seeds[part]
        if start is not None:
            x, labels = start(chosen)
        else:
            noise = SeedNoise(chosen, denoiser.shape, denoiser.label_dim, device)
            x, labels = noise.latents.double() * schedule.sigma_max, noise.class_labels
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
