"""The EDM training loss, and the same loss as a function of sigma on images held out.

    L = E_{y, sigma, n} [ w(sigma) |D(y + n; sigma) - y|^2 ],   w = (sigma^2 + sd^2) / (sigma sd)^2
    ln sigma ~ N(P_mean, P_std^2)                                  (Karras et al. 2022, Table 1)

Noise levels of a batch are stratified: the i-th of B comes from the i-th of B equally likely shares of
their distribution, which has the same expectation and less variance.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.checks import check_labels
from art_rl.denoisers.unet import UNetDenoiser


def edm_loss(
    denoiser: Callable[..., Tensor],
    images: Tensor,
    sigma: Tensor,
    noise: Tensor,
    sigma_data: float,
    class_labels: Tensor | None = None,
) -> Tensor:
    """Weighted squared error per image, mean over pixels: (B,).

    images, noise (B, C, H, W), noise standard normal; sigma (B,) > 0.  A constant output F = 0 of the
    network gives about 1 at every sigma.
    """
    wide = sigma.reshape(-1, *[1] * (images.ndim - 1))
    denoised = denoiser(images + wide * noise, sigma, class_labels)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * ((denoised - images) ** 2).flatten(1).mean(1)


def stratified_sigmas(
    n: int, P_mean: float, P_std: float, generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """(n,) log-normal noise levels, one from each of n equally likely shares."""
    u = torch.rand(n, generator=generator, device=device)
    u = (torch.arange(n, device=device) + u.clamp(1e-4, 1 - 1e-4)) / n
    return torch.exp(P_mean + P_std * torch.special.ndtri(u))


@torch.no_grad()
def loss_by_sigma(
    model: UNetDenoiser,
    images: Tensor,
    sigmas: np.ndarray,
    class_labels: Tensor | None = None,
    repeats: int = 1,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """EDM loss at fixed noise levels; the same noise for every level, model and call.

    Args:
        images: (N, C, H, W); call once with held-out and once with training images.
        sigmas: (M,) noise levels, > 0.
        repeats: noise draws per image.

    Returns:
        float64 (M, 2): mean over images and draws, and its standard error (over images).

    Raises:
        ArtRLError: images or labels do not fit the network (`art_rl.denoisers.checks`).
    """
    check_labels(class_labels, len(images), model.label_dim)
    device = next(model.parameters()).device
    result = np.empty((len(sigmas), 2))
    for row, level in enumerate(sigmas):
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(len(images), dtype=torch.float64)
        for _ in range(repeats):
            noise = torch.randn(images.shape, generator=generator)
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                x = images[part].to(device)
                sigma = torch.full((len(x),), float(level), device=device)
                labels = None if class_labels is None else class_labels[part].to(device)
                loss = edm_loss(model, x, sigma, noise[part].to(device), model.sigma_data, labels)
                total[part] += loss.double().cpu() / repeats
        result[row] = float(total.mean()), float(total.std()) / math.sqrt(len(images))
    return result
