"""Experiments on exact models: a target, a noise range and a way to start.

The paper does not give the targets of its 1-D experiments; the ones in config/config.yaml are ours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from art_rl.denoisers.analytic import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.schedule import check_sigma_range

STARTS = ("exact", "noise")


@dataclass(frozen=True)
class Experiment:
    """A denoiser with its noise range and the distribution the sampler starts from.

    start = "exact": x = x_0 + sigma_max * z with x_0 from the data (the true p_T).
    start = "noise": x = sigma_max * z, what a sampler of real models does.
    """

    name: str
    denoiser: GaussianMixture
    sigma_min: float
    sigma_max: float
    start: str

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
        return x


def random_mixture(dim: int, stds: list[float], spread: float, seed: int) -> GaussianMixture:
    """Equal-weight mixture, one component per entry of ``stds``, means N(0, spread^2 I) from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(len(stds), dim, dtype=torch.float64, generator=generator)
    return GaussianMixture([1.0] * len(stds), means.tolist(), stds)


def build_experiment(name: str, config: dict[str, Any]) -> Experiment:
    """An Experiment from its block of the configuration (already validated by the JSON schema).

    ``config["target"]["kind"]`` is "gaussian" (std, dim, mean), "mixture" (weights, means, stds) or
    "random_mixture" (dim, stds, spread, seed).
    """
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
