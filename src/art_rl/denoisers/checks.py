"""What a denoiser is called with, and what networks are trained on: one set of checks for all of them.

`check_call` looks at shapes and dtypes, and at a level that is a plain number: looking at values of tensors
would wait for the GPU at every call, and cannot be done under `torch.func` transforms.  `check_images`,
`check_class_indices` and `check_one_hot` look at values, where data enters once.
"""

import math

import numpy as np
import torch
from torch import Tensor

from art_rl.errors import ArtRLError

# The way out for images in the wrong units.
FROM_PIXELS = "pixels in 0..255 become x / 127.5 - 1"


def check_call(
    x: Tensor,
    sigma: Tensor | float,
    class_labels: Tensor | None,
    shape: tuple[int, ...],
    label_dim: int,
    at_zero: bool = False,
) -> None:
    """Refuse a call ``denoiser(x, sigma, class_labels)`` that does not fit the model.

    Args:
        x: must be (B, *shape), B >= 1, of a float dtype.
        sigma: must be () or (B,); as a plain number finite and above 0.
        class_labels: None for a model without classes; else (B, label_dim) of a float dtype.
        shape: of one sample of the model.
        label_dim: classes of the model, 0 for an unconditional one.
        at_zero: whether the model is defined at the level 0 too.

    Raises:
        ArtRLError: naming the argument, the rule and what was received.
    """
    if not isinstance(x, Tensor):
        raise ArtRLError(f"x must be a torch tensor, got {type(x).__name__}")
    if tuple(x.shape[1:]) != tuple(shape) or x.ndim == 0:
        raise ArtRLError(f"x must be (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ArtRLError(f"x must be of a float dtype, got {x.dtype}; {FROM_PIXELS}")
    if isinstance(sigma, Tensor):
        if not (sigma.ndim == 0 or sigma.shape == (len(x),)):
            raise ArtRLError(f"sigma must be () or ({len(x)},), got {tuple(sigma.shape)}")
    elif not (
        isinstance(sigma, int | float | np.number)
        and math.isfinite(sigma)
        and (sigma > 0 or (at_zero and sigma == 0))
    ):
        rule = "at least 0" if at_zero else "above 0"
        raise ArtRLError(f"sigma must be a finite number {rule}, or a tensor; got {sigma!r:.80}")
    check_labels(class_labels, len(x), label_dim)


def check_labels(class_labels: Tensor | None, n: int, label_dim: int) -> None:
    """Refuse labels of the wrong kind, labels nobody asked for and labels that are missing.

    Args:
        class_labels: None for a model without classes; else one-hot (n, label_dim), a float dtype.
        n: number of samples.
        label_dim: classes of the model, 0 for an unconditional one.

    Raises:
        ArtRLError: naming the rule and what was received.
    """
    if class_labels is None:
        if label_dim:
            raise ArtRLError(
                f"class_labels are missing: the model has {label_dim} classes and needs one-hot "
                f"labels of shape ({n}, {label_dim}); see art_rl.flow.seeds.one_hot"
            )
        return
    if not label_dim:
        raise ArtRLError(
            f"class_labels must be None: the model is unconditional (label_dim = 0), got labels of "
            f"shape {tuple(class_labels.shape)}"
        )
    if tuple(class_labels.shape) != (n, label_dim):
        raise ArtRLError(
            f"class_labels must be one-hot of shape ({n}, {label_dim}), "
            f"got {tuple(class_labels.shape)}; see art_rl.flow.seeds.one_hot"
        )
    if not class_labels.is_floating_point():
        raise ArtRLError(
            f"class_labels must be one-hot of a float dtype, got {class_labels.dtype}; "
            "see art_rl.flow.seeds.one_hot"
        )


def check_one_hot(class_labels: Tensor) -> None:
    """Refuse rows that are not one-hot: for places that see labels once, such as training.

    Raises:
        ArtRLError: naming the first row that is not.
    """
    single = ((class_labels == 0) | (class_labels == 1)).all(1) & (class_labels.sum(1) == 1)
    if not single.all():
        row = int(torch.nonzero(~single)[0])
        raise ArtRLError(
            f"class_labels must be one-hot, row {row} is {class_labels[row].tolist()!s:.80}"
        )


def check_images(images: Tensor, largest: float = 1.0) -> None:
    """Refuse images of data that are not in [-1, 1]: integers, pixels in 0..255, NaN.

    Args:
        images: (N, C, H, W), N >= 1.
        largest: absolute value allowed, with 0.1 % for rounding; above 1 for data that overshoots.

    Raises:
        ArtRLError: naming the rule and what was received.
    """
    if images.ndim != 4 or not len(images):
        raise ArtRLError(f"images must be (N, C, H, W), N >= 1; got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ArtRLError(f"images must be float in [-1, 1], got {images.dtype}; {FROM_PIXELS}")
    if not torch.isfinite(images).all():
        raise ArtRLError("images must be finite")
    low, high = float(images.amin()), float(images.amax())
    if max(-low, high) > 1.001 * largest:
        raise ArtRLError(
            f"images must be in [-1, 1], got values from {low:g} to {high:g}; {FROM_PIXELS}"
        )


def check_class_indices(labels: Tensor, n: int) -> None:
    """Refuse class indices that are not int64 (n,), >= 0.

    Raises:
        ArtRLError: naming the rule and what was received.
    """
    if tuple(labels.shape) != (n,) or labels.dtype != torch.int64:
        raise ArtRLError(
            f"labels must be class indices, int64 of shape ({n},); got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    if len(labels) and int(labels.min()) < 0:
        raise ArtRLError(f"labels must be class indices >= 0, got {int(labels.min())}")
