"""Experiments: a denoiser, its noise range and a way to start.

Exact models have a target whose score is known; image models a network trained here.  The paper does
not give the targets of its 1-D experiments; the ones in config/config.yaml are ours.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from art_rl.denoisers.analytic import Gaussian, GaussianMixture
from art_rl.denoisers.base import Denoiser
from art_rl.denoisers.unet import load_model
from art_rl.errors import ArtRLError
from art_rl.schedule import check_sigma_range

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


def random_mixture(dim: int, stds: list[float], spread: float, seed: int) -> GaussianMixture:
    """Equal-weight mixture, one component per entry of ``stds``, means N(0, spread^2 I) from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(len(stds), dim, dtype=torch.float64, generator=generator)
    return GaussianMixture([1.0] * len(stds), means.tolist(), stds)


def build_experiment(
    name: str, config: dict[str, Any], network: str | os.PathLike | None = None
) -> Experiment:
    """An Experiment from its block of the configuration (already validated by the JSON schema).

    Args:
        config: for exact models ``config["target"]["kind"]`` is "gaussian" (std, dim, mean), "mixture"
            (weights, means, stds) or "random_mixture" (dim, stds, spread, seed); kind "image" needs
            ``network``.
        network: weights of an image model (.safetensors, as written by ``save_model``).
    """
    if config.get("kind") == "image":
        if not network:
            raise ArtRLError(f"models.{name} is an image model: its network's file is needed")
        device = config.get("sampling", {}).get("device", "cpu")
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
