"""What a policy may see of a state, and its norm."""

from collections.abc import Callable

import torch
from torch import Tensor

from art_rl.denoisers.base import expand_sigma

# (x, sigma () or (B,)) -> (B, F), any smooth summary of the state; see default_features.
Features = Callable[[Tensor, Tensor], Tensor]


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of every sample, (B, *shape) -> (B,)."""
    return x.flatten(1).norm(dim=1)


def default_features(sigma_data: float) -> Features:
    """x / sqrt(sigma^2 + sigma_data^2) itself in up to 4 dimensions, else its root mean square."""

    def features(x: Tensor, sigma: Tensor) -> Tensor:
        flat = x.flatten(1)
        flat = flat / torch.sqrt(expand_sigma(sigma, flat) ** 2 + sigma_data**2)
        if flat.shape[1] <= 4:
            return flat
        return flat.square().mean(1, keepdim=True).sqrt()

    return features
