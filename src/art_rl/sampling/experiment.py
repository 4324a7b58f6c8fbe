"""Experiments: a denoiser, its noise range and a way to start.

Exact models have a target whose score is known; image models a network trained here; edm models an
official checkpoint.  The paper does not give the targets of its 1-D experiments; the ones in
config/config.yaml are ours.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.denoisers.device import check_device
from art_rl.denoisers.edm import EDMDenoiser, load_network
from art_rl.denoisers.exact import Gaussian, GaussianMixture
from art_rl.denoisers.unet import load_model
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import one_hot
from art_rl.schedules.schedule import check_sigma_range

STARTS = ("exact", "noise")


@dataclass(frozen=True)
class Experiment:
    """A denoiser with its noise range and the distribution the sampler starts from.

    start = "exact": x = x_0 + sigma_max * z with x_0 from the data (the true p_T).
    start = "noise": x = sigma_max * z, what a sampler of real models does.
    device: where states live; noise is drawn on the CPU.
    """

    name: str
    denoiser: Denoiser
    sigma_min: float
    sigma_max: float
    start: str
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_sigma_range(self.sigma_min, self.sigma_max)
        if self.start not in STARTS:
            raise ArtRLError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")

    def draw(self, n: int, seed: int) -> Tensor:
        """n starting states at sigma_max, float64 (n, *shape); the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(n, *self.denoiser.shape, dtype=torch.float64, generator=generator)
        x = self.sigma_max * noise
        if self.start == "exact":
            x = x + self.denoiser.sample(n, generator)
        return x.to(self.device)

    def labels(self, n: int, seed: int) -> Tensor | None:
        """Classes to go with ``draw(n, seed)``, uniform, one-hot float32 (n, label_dim); None if the
        model is unconditional."""
        classes = self.denoiser.label_dim
        if not classes:
            return None
        generator = torch.Generator().manual_seed(seed)
        indices = torch.randint(classes, (n,), generator=generator)
        return one_hot(indices, classes).to(self.device)


def random_mixture(dim: int, stds: list[float], spread: float, seed: int) -> GaussianMixture:
    """Equal-weight mixture, one component per entry of ``stds``, means N(0, spread^2 I) from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(len(stds), dim, dtype=torch.float64, generator=generator)
    return GaussianMixture([1.0] * len(stds), means.tolist(), stds)


def float32_network(weights: str | os.PathLike, device: str, tf32: bool) -> EDMDenoiser:
    """A converted checkpoint in plain float32, for learning and measuring."""
    check_device(device, tf32)
    return load_network(weights, Path(weights).with_suffix(".json"), device)


def fast_network(weights: str | os.PathLike, device: str, speed: dict[str, Any]) -> EDMDenoiser:
    """A converted checkpoint for sampling.

    Args:
        speed: options of ``art_rl.denoisers.edm.optimise``, ``dtype`` as a name such as "float16";
            with float32 convolutions are float32 too, not TF32.
    """
    options = dict(speed)
    dtype = getattr(torch, options.pop("dtype", "float32"))
    check_device(device, tf32=dtype is not torch.float32)
    description = Path(weights).with_suffix(".json")
    return load_network(weights, description, device, dtype=dtype, **options)


def build_experiment(
    name: str,
    config: dict[str, Any],
    network: str | os.PathLike | None = None,
    tf32: bool = False,
) -> Experiment:
    """An Experiment from its block of the configuration (already validated by the JSON schema).

    Args:
        config: for exact models ``config["target"]["kind"]`` is "gaussian" (std, dim, mean), "mixture"
            (weights, means, stds) or "random_mixture" (dim, stds, spread, seed); kinds "image" and
            "edm" need ``network``.
        network: weights of a network (.safetensors), its description (.json) beside it, as written by
            ``save_model`` (image) or ``convert_snapshot`` (edm).
        tf32: edm only: let convolutions on a GPU round to TF32.  Enough for rollouts on a budget's own
            steps; |Q| from levels close together would drown in it.
    """
    if config.get("kind") == "edm":
        if not network:
            raise ArtRLError(f"models.{name} is an EDM checkpoint: its converted file is needed")
        device = config["sampling"]["device"]
        return Experiment(
            name,
            float32_network(network, device, tf32),
            config["sigma_min"],
            config["sigma_max"],
            "noise",
            device,
        )
    if config.get("kind") == "image":
        if not network:
            raise ArtRLError(f"models.{name} is an image model: its network's file is needed")
        device = config.get("sampling", {}).get("device", "cpu")
        check_device(device)
        return Experiment(
            name,
            load_model(network, device),
            config["sigma_min"],
            config["sigma_max"],
            "noise",
            device,
        )
    target = dict(config["target"])
    kinds = {"gaussian": Gaussian, "mixture": GaussianMixture, "random_mixture": random_mixture}
    kind = target.pop("kind")
    if kind not in kinds:
        raise ArtRLError(
            f"models.{name}.target.kind must be one of {', '.join(kinds)}, got {kind!r}"
        )
    return Experiment(
        name, kinds[kind](**target), config["sigma_min"], config["sigma_max"], config["start"]
    )
