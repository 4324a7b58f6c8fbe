"""Randomness per seed: initial noise, class labels and sampler noise, and the conversion to uint8.

Every seed s has its own ``torch.Generator(device).manual_seed(s mod 2^32)``.  From it are drawn, in
this order (the protocol of the official EDM generator, Karras et al. 2022):

 1. the latent: one float32 standard normal of the sample's shape;
 2. only if the model has classes: one integer in [0, label_dim);
 3. the sampler's noise: one standard normal per churned step, in the dtype of the state.

An image therefore depends on its own seed and on the device type, not on the batch, the shard or the
other seeds.  CPU and CUDA generators give different numbers for the same seed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from art_rl.denoisers.checks import FROM_PIXELS
from art_rl.errors import ArtRLError


class SeedNoise:
    """All the random numbers of one batch of seeds.

    Args:
        seeds: N integers, N >= 1; a seed counts modulo 2^32.
        shape: shape of one sample, e.g. (3, 32, 32).
        label_dim: number of classes of the model, 0 for an unconditional one.
        device: where the generators live, the numbers are drawn and the tensors stay.

    Attributes:
        latents: (N, *shape) float32, standard normal.
        class_indices: (N,) int64 in [0, label_dim), or None when label_dim is 0.
        class_labels: (N, label_dim) float32, one-hot, or None when label_dim is 0.

    Raises:
        ArtRLError: no seeds, a seed that is not an integer, label_dim < 0.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        label_dim: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.seeds = _check_seeds(seeds)
        if label_dim < 0:
            raise ArtRLError(f"label_dim must be >= 0, got {label_dim}")
        self.shape = tuple(int(size) for size in shape)
        self.label_dim = int(label_dim)
        self.device = torch.device(device)
        self.generators = [
            torch.Generator(self.device).manual_seed(seed % (1 << 32)) for seed in self.seeds
        ]
        self.latents = self.normal(torch.float32)
        self.class_indices: Tensor | None = None
        self.class_labels: Tensor | None = None
        if self.label_dim:
            draws = [
                torch.randint(self.label_dim, (), generator=generator, device=self.device)
                for generator in self.generators
            ]
            self.class_indices = torch.stack(draws)
            self.class_labels = one_hot(self.class_indices, self.label_dim)

    def normal(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The next standard normal draw of every seed, (N, *shape) in ``dtype``."""
        return torch.stack(
            [
                torch.randn(self.shape, generator=generator, device=self.device, dtype=dtype)
                for generator in self.generators
            ]
        )


def latents(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Initial noise of the seeds, (N, *shape) float32 on the CPU, standard normal; see SeedNoise."""
    return SeedNoise(seeds, shape).latents


def one_hot(class_indices: Tensor | Sequence[int] | int, label_dim: int) -> Tensor:
    """Class indices (N,) or one index () as one-hot float32 (N, label_dim) or (label_dim,).

    Raises:
        ArtRLError: the model has no classes, an index is not an integer in [0, label_dim).
    """
    indices = torch.as_tensor(class_indices)
    if label_dim < 1:
        raise ArtRLError("class_indices given, but the model is unconditional (label_dim = 0)")
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ArtRLError(f"class_indices must be integers, got dtype {indices.dtype}")
    outside = (indices < 0) | (indices >= label_dim)
    if outside.any():
        value = int(indices[outside].flatten()[0])
        raise ArtRLError(
            f"class index must be in [0, {label_dim}) for a model of {label_dim} classes, got {value}"
        )
    return torch.nn.functional.one_hot(indices.long(), label_dim).to(torch.float32)


def to_uint8(x: Tensor) -> Tensor:
    """Images from [-1, 1] to 0..255: x * 127.5 + 128, clipped, truncated (the official conversion).

    Any float dtype and shape; computed in x's dtype, returned as uint8 of the same shape.

    Raises:
        ArtRLError: x holds NaN (it would become an arbitrary grey), is of an integer dtype, or is in
            0..255 already: no value below 0, one above 2.
    """
    if not x.is_floating_point():
        raise ArtRLError(
            f"images to convert to uint8 must be float in [-1, 1], got {x.dtype}; {FROM_PIXELS}"
        )
    if torch.isnan(x).any():
        raise ArtRLError("images to convert to uint8 hold NaN: the sampler or the model diverged")
    check_not_pixels(x)
    return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def check_not_pixels(x: Tensor) -> None:
    """ArtRLError if float images are in 0..255 instead of [-1, 1]: no value below 0, one above 2.

    Samples overshoot [-1, 1], but on both sides; pixels in 0..255 are never below 0.
    """
    if x.numel() and x.amin() >= 0 and x.amax() > 2:
        raise ArtRLError(
            f"images must be in [-1, 1], got values from {float(x.amin()):g} to "
            f"{float(x.amax()):g}; {FROM_PIXELS}"
        )


def _check_seeds(seeds: Sequence[int]) -> list[int]:
    checked = []
    for index, seed in enumerate(seeds):
        try:
            value = int(seed)
        except (TypeError, ValueError, OverflowError):
            value = None
        if value is None or value != seed or isinstance(seed, bool):
            raise ArtRLError(f"seeds[{index}] must be an integer, got {seed!r:.80}")
        checked.append(value)
    if not checked:
        raise ArtRLError("seeds must hold at least one seed, got none")
    return checked
