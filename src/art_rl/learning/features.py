"""What a policy may see of a state, and its norm."""

import torch
from torch import Tensor

from art_rl.denoisers.base import expand_sigma


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of every sample, (B, *shape) -> (B,)."""
    return x.flatten(1).norm(dim=1)


def features(x: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """x / sqrt(sigma^2 + sigma_data^2) itself in up to 4 dimensions, else its root mean square; (B, F).

    Args:
        x: (B, *shape).
        sigma: () or (B,).
    """
    flat = x.flatten(1)
    flat = flat / torch.sqrt(expand_sigma(sigma, flat) ** 2 + sigma_data**2)
    if flat.shape[1] <= 4:
        return flat
    return flat.square().mean(1, keepdim=True).sqrt()
