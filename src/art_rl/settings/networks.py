"""Networks trained here: their size, their training, and the classifier of LeNet-FID."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from art_rl.errors import ArtRLError
from art_rl.settings.base import LIST, Closed, Count, Positive, Seed, Whole

Channels = Annotated[Whole, Field(ge=8, multiple_of=8)]

# Data sets of image models: shape of one image (C, H, W), and number of classes.
DATA: dict[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 32, 32), 10),
}


class NetworkSettings(Closed):
    """Size of a score network; what its data decide is in UNetConfig."""

    written = "changed"

    channels: Annotated[tuple[Channels, ...], LIST, Field(min_length=1)] = (32, 64)
    """Channels per level, finest first; multiples of 8."""
    blocks: Count = 1
    """Residual blocks per level, on the way down and on the way up."""
    patch: Count = 1
    """The network sees patch x patch pixels as channels of one position (1: pixels as they are); 2 makes
    32x32 images four times cheaper."""
    embedding: Annotated[Whole, Field(ge=2, multiple_of=2)] = 64
    """Width of the noise-level embedding, even."""
    attention: bool = True
    """One self-attention layer (single head) at the lowest level."""


class _Shape(Closed):
    shape: Annotated[tuple[Count, Count, Count], LIST]
    """One image (C, H, W); H and W divisible by patch * 2^(levels - 1)."""


class UNetConfig(NetworkSettings, _Shape):
    """Size of a score network for images of one shape and number of classes."""

    label_dim: Annotated[Whole, Field(ge=0)] = 0
    """Number of classes, 0 for an unconditional network."""

    @model_validator(mode="after")
    def _levels_divide_the_image(self) -> Self:
        factor = self.patch * 2 ** (len(self.channels) - 1)
        if any(size % factor for size in self.shape[1:]):
            raise ArtRLError(
                f"shape must be (C, H, W) with H and W divisible by {factor} "
                f"for {len(self.channels)} levels of patch {self.patch}, got {self.shape}"
            )
        return self


class TrainSettings(Closed):
    """How a score network is trained: EDM's loss, Adam, a moving average of the weights."""

    written = "changed"

    iterations: Count
    """Optimiser steps."""
    batch_size: Count = 128
    """Images per iteration."""
    learning_rate: Positive = 2e-3
    """Peak of Adam's rate; linear warm-up, then cosine decay to 0."""
    warmup: Annotated[Whole, Field(ge=0)] = 100
    """Iterations of warm-up."""
    decay_iterations: Count | None = None
    """Iterations over which the rate falls to 0 (null: all); if more than iterations, training ends first."""
    ema_halflife: Positive = 150.0
    """Half-life of the moving average of the weights, in iterations (shorter at the start, as in EDM2:
    never more than a tenth of the iterations done)."""
    P_mean: Annotated[float, Field(ge=-20, le=20)] = -1.2
    """Mean of ln sigma while training; |Q| is trusted on the levels trained on
    (art_rl.schedules.closed_form.trained_range)."""
    P_std: Annotated[float, Field(gt=0, le=20)] = 1.2
    """Standard deviation of ln sigma while training."""
    seed: Seed = 0
    """Seed of the weights, batches and noise."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the network's forward pass; bfloat16 is for GPUs."""
    channels_last: bool = False
    """Memory layout NHWC of network and images."""
    checkpoint_every: Count = 500
    """Iterations between saved states."""


class LeNetSettings(Closed):
    """How the classifier of LeNet-FID is trained: Adam with a one-cycle rate."""

    written = "changed"

    epochs: Count | None = None
    """Passes over the training images; null: 15 for 8x8 images (measured on digits: 98.7 % of the held-out
    images right), 4 for 32x32."""
    batch_size: Count | None = None
    """Images per step; null: 32 for 8x8 images, 128 for 32x32."""
    learning_rate: Positive = 3e-3
    """Peak of Adam's one-cycle rate."""
    shift: Annotated[Whole, Field(ge=0)] = 1
    """Training images are moved by up to this many pixels in each direction."""
    seed: Seed = 0
    """Seed of the weights, order and shifts."""

    def resolved(self, size: int) -> Self:
        """The same with the defaults for images of ``size`` filled in."""
        epochs, batch_size = (15, 32) if size == 8 else (4, 128)
        return self.replace(
            epochs=epochs if self.epochs is None else self.epochs,
            batch_size=batch_size if self.batch_size is None else self.batch_size,
        )
