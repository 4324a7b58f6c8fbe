"""Models whose score is known: Gaussians and mixtures.

The papers do not give the targets of their 1-D experiments; the ones in config/config.yaml are ours.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from art_rl.checks import check_one_of
from art_rl.denoisers.exact import Gaussian, GaussianMixture
from art_rl.sampling.measures import EndpointRMSE, ExactW2, Files, Measure


def random_mixture(dim: int, stds: list[float], spread: float, seed: int) -> GaussianMixture:
    """Equal-weight mixture, one component per entry of ``stds``, means N(0, spread^2 I) from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(len(stds), dim, dtype=torch.float64, generator=generator)
    return GaussianMixture([1.0] * len(stds), means.tolist(), stds)


TARGETS: dict[str, Callable[..., GaussianMixture]] = {
    "gaussian": Gaussian,
    "mixture": GaussianMixture,
    "random_mixture": random_mixture,
}


def denoiser(settings: Mapping[str, Any], *_: Any) -> GaussianMixture:
    """The target: "gaussian" (std, dim, mean), "mixture" (weights, means, stds) or "random_mixture"."""
    target = dict(settings["target"])
    kind = target.pop("kind")
    check_one_of("target.kind", kind, TARGETS)
    return TARGETS[kind](**target)


def measures(
    settings: Mapping[str, Any], files: Files, denoiser: GaussianMixture | None = None
) -> list[Measure]:
    """RMSE, and W2 where the target has one dimension."""
    found: list[Measure] = [EndpointRMSE(files.reference)]
    if denoiser is not None and denoiser.dim == 1:
        found.append(ExactW2(denoiser))
    return found
