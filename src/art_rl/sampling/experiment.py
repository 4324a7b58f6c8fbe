"""Experiments: a denoiser, its noise range, a way to start, and what is measured at the end.

Exact models, networks trained here and official checkpoints differ in their builders
(`art_rl.sampling.kinds`) and nowhere after: every rule, script and table works on an `Experiment`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_one_of, check_seed
from art_rl.denoisers.base import Denoiser
from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise, one_hot
from art_rl.registry import kind_of
from art_rl.sampling.measures import Files, Measure
from art_rl.schedules.schedule import check_sigma_range
from art_rl.settings.sampling import CellSampling

PRIORS = ("exact", "noise")


def no_measures(files: Files) -> list[Measure]:
    """Of an experiment that is learned on, not evaluated."""
    return []


@dataclass(frozen=True)
class Experiment:
    """A denoiser with its noise range, the distribution the sampler starts from, and its measures.

    prior = "exact": x = x_0 + sigma_max * z with x_0 from the data (the true p_T).
    prior = "noise": x = sigma_max * z, what a sampler of real models does.
    device: where states live; ``draw`` draws noise on the CPU.
    block: None if every seed has noise of its own (the official protocol); (n, first) if a seed block b
        of n seeds is drawn as a whole, with ``draw(n, first + b)``.
    measures: what is measured at the end of a trajectory, from the files of a job.
    """

    name: str
    denoiser: Denoiser
    sigma_min: float
    sigma_max: float
    prior: str
    device: str = "cpu"
    block: tuple[int, int] | None = None
    measures: Callable[[Files], list[Measure]] = no_measures

    def __post_init__(self) -> None:
        check_sigma_range(self.sigma_min, self.sigma_max)
        check_one_of("start", self.prior, PRIORS)

    def start(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Where the sampler starts; the same for a seed in every split of the seeds.

        Returns:
            (x float64 (N, *shape) at sigma_max, one-hot class labels float32 (N, label_dim) or None if
            unconditional).

        Raises:
            ArtRLError: seeds of different seed blocks, where a block is drawn as a whole.
        """
        if self.block is None:
            noise = SeedNoise(seeds, self.denoiser.shape, self.denoiser.label_dim, self.device)
            return noise.latents.double() * self.sigma_max, noise.class_labels
        samples, first = self.block
        index = seeds[0] // samples
        rows = torch.from_numpy(np.asarray(seeds, np.int64)) - index * samples
        if rows.min() < 0 or rows.max() >= samples:
            raise ArtRLError(
                f"seeds {seeds[0]} to {seeds[-1]} span more than one block of {samples}"
            )
        x = self.draw(samples, first + index)
        whole = torch.equal(rows, torch.arange(samples))
        return (x if whole else x[rows]), self.labels(samples, first + index)

    def draw(self, n: int, seed: int) -> Tensor:
        """n starting states at sigma_max, float64 (n, *shape); the same for the same seed."""
        generator = torch.Generator().manual_seed(check_seed(seed))
        noise = torch.randn(n, *self.denoiser.shape, dtype=torch.float64, generator=generator)
        x = self.sigma_max * noise
        if self.prior == "exact":
            # Only exact models start so, and they can draw their data.
            x = x + cast(GaussianMixture, self.denoiser).sample(n, generator)
        return x.to(self.device)

    def drawn(self, n: int, seed: int) -> dict[str, Any]:
        """What measurements take: denoiser, n states of ``seed`` with labels, and the range, by argument."""
        span = {"sigma_max": self.sigma_max, "sigma_min": self.sigma_min}
        own = {"x_start": self.draw(n, seed), "class_labels": self.labels(n, seed)}
        return {"denoiser": self.denoiser, **own, **span}

    def halves(self, n: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Any, Any]]:
        """States of ``draw(n, seed)`` to learn on and to choose on, and the labels of both (or None)."""
        x, labels, half = self.draw(n, seed), self.labels(n, seed), n // 2
        both = (None, None) if labels is None else (labels[:half], labels[half:])
        return (x[:half], x[half:]), both

    def labels(self, n: int, seed: int) -> Tensor | None:
        """Classes to go with ``draw(n, seed)``, uniform, one-hot float32 (n, label_dim).

        None if the model is unconditional.
        """
        classes = self.denoiser.label_dim
        if not classes:
            return None
        generator = torch.Generator().manual_seed(check_seed(seed))
        indices = torch.randint(classes, (n,), generator=generator)
        return one_hot(indices, classes).to(self.device)


def build_experiment(
    name: str,
    settings: Mapping[str, Any],
    network: str | os.PathLike | None = None,
    rollouts: bool = False,
    sampling: CellSampling | None = None,
) -> Experiment:
    """An Experiment from its block of the checked configuration; its kind makes denoiser and measures.

    Args:
        network: weights of a network (.safetensors), its description (.json) beside it.
        rollouts: only rollouts on a budget's own steps are wanted, no |Q|.  Convolutions on a GPU may then
            round to TF32, in which |Q| from levels close together would drown; a network trained here
            lies in memory as its sampling does.
        sampling: how cells are sampled (`art_rl.experiments.targets.Targets.sampling`), if they are: an
            official checkpoint then computes as its ``speed`` says, a model without ``sampling`` of its own
            draws whole blocks.

    Raises:
        ArtRLError: an unknown kind; a network without its file; what its module refuses.
    """
    kind, own = kind_of(settings), settings.get("sampling")
    if kind.network and not network:
        raise ArtRLError(f"models.{name} is of kind {kind.id}: its network's file is needed")
    builder = import_module(kind.builder)
    denoiser = builder.denoiser(settings, network, rollouts, sampling)
    return Experiment(
        name,
        denoiser,
        settings["sigma_min"],
        settings["sigma_max"],
        settings.get("start", "noise"),
        (own or {}).get("device", "cpu"),
        (sampling.samples, sampling.seed) if sampling and not own else None,
        partial(builder.measures, settings, denoiser=denoiser),
    )


def build_measures(settings: Mapping[str, Any], files: Files) -> list[Measure]:
    """The measures of a model by its kind, without its denoiser: to put shards together."""
    return import_module(kind_of(settings).builder).measures(settings, files)
