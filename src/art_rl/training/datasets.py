"""Image data sets as tensors: scikit-learn's digits (8x8) and MNIST (padded to 32x32).

Images are float32 (N, C, H, W) in [-1, 1], black = -1; labels int64 (N,).  The train / held-out split
is fixed: MNIST's own, and for digits the last 297 of a permutation drawn with seed 0.
"""

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_known
from art_rl.errors import ArtRLError
from art_rl.files import fault_of_file
from art_rl.settings.networks import DATA

DIGITS_HELD_OUT = 297
MNIST_FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        name: "digits" or "mnist".
        train, test: float32 (N, C, H, W) in [-1, 1]; test is never trained on.
        train_labels, test_labels: int64 (N,).
        classes: number of classes.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int = 10

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image (C, H, W)."""
        return tuple(self.train.shape[1:])

    @property
    def sigma_data(self) -> float:
        """Standard deviation of all training pixels (Karras et al. 2022: 0.5 for their data)."""
        return float(self.train.double().std())


def load_digits_data() -> ImageData:
    """scikit-learn's bundled digits: 1500 training and 297 held-out images, shape (1, 8, 8)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images / 8 - 1).float().reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(labels.astype(np.int64))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    train, test = order[:-DIGITS_HELD_OUT], order[-DIGITS_HELD_OUT:]
    return ImageData("digits", images[train], labels[train], images[test], labels[test])


def read_idx(path: str | os.PathLike, ndim: int, max_bytes: int = 1 << 28) -> np.ndarray:
    """One idx file of unsigned bytes, gzipped (name ends in .gz) or plain.

    Args:
        ndim: number of dimensions it must have (3 for images, 1 for labels).
        max_bytes: refuse a header that claims more.

    Returns:
        uint8 array.

    Raises:
        ArtRLError: missing or damaged file, another magic number, sizes that do not fit the content
            (too short or too long), or a claim beyond ``max_bytes``.
    """
    path = Path(path)
    fault = fault_of_file(path)
    if fault is not None:
        raise ArtRLError(f"{path}: {fault}")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim:
                raise ArtRLError(f"{path}: too short for an idx header of {ndim} dimensions")
            if header[:4] != bytes([0, 0, 8, ndim]):
                raise ArtRLError(
                    f"{path}: magic must be 0000080{ndim} (unsigned bytes, {ndim} dimensions), "
                    f"got {header[:4].hex()}"
                )
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", ndim, 4))
            count = math.prod(shape)
            if count > max_bytes:
                raise ArtRLError(f"{path}: header claims {count} bytes, more than {max_bytes}")
            body = file.read(count + 1)  # one more shows trailing bytes
    except (OSError, EOFError, zlib.error) as error:
        raise ArtRLError(f"{path}: damaged or truncated ({error})") from None
    if len(body) != count:
        relation = "fewer" if len(body) < count else "more"
        raise ArtRLError(f"{path}: header promises {count} bytes for {shape}, there are {relation}")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def load_mnist_data(folder: str | os.PathLike) -> ImageData:
    """MNIST from its four files in ``folder``, padded from 28x28 to 32x32 with black.

    Raises:
        ArtRLError: a file is missing or damaged, images and labels differ in number, images are not
            28x28, a label is above 9.
    """
    folder = Path(folder)
    parts: dict[str, Tensor] = {}
    for split in ("train", "test"):
        images = read_idx(folder / MNIST_FILES[f"{split}_images"], 3)
        labels = read_idx(folder / MNIST_FILES[f"{split}_labels"], 1)
        if images.shape[1:] != (28, 28):
            raise ArtRLError(f"{folder}: {split} images must be 28x28, got {images.shape[1:]}")
        if len(images) != len(labels):
            raise ArtRLError(
                f"{folder}: {len(images)} {split} images but {len(labels)} labels; mixed files?"
            )
        if labels.size and labels.max() > 9:
            raise ArtRLError(f"{folder}: {split} labels must be 0..9, found {labels.max()}")
        pixels = torch.from_numpy(images).float()[:, None] / 127.5 - 1
        parts[split] = torch.nn.functional.pad(pixels, (2, 2, 2, 2), value=-1.0)
        parts[f"{split}_labels"] = torch.from_numpy(labels.astype(np.int64))
    return ImageData(
        "mnist", parts["train"], parts["train_labels"], parts["test"], parts["test_labels"]
    )


def load_data(name: str, folder: str | os.PathLike | None = None) -> ImageData:
    """A data set by name: "digits" needs nothing, "mnist" the folder of its files."""
    if check_known("data set", name, DATA) == "digits":
        return load_digits_data()
    if folder is None:
        raise ArtRLError("data set 'mnist' needs the folder of its four files")
    return load_mnist_data(folder)
