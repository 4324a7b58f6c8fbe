"""Samples as PNG files in the official layout: <folder>/<seed - seed % 1000>/<seed>.png, six digits each.

The images of a shard are written beside the folder and moved into it together, once the shard is whole.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import write_text
from art_rl.flow.seeds import to_uint8


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a uint8 image (1 or 3, H, W)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ArtRLError(f"an image must be uint8 (1 or 3, H, W), got {image.dtype} {image.shape}")
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    Image.fromarray(pixels).save(path, format="PNG")


def png_path(folder: str | os.PathLike, seed: int) -> Path:
    """Where the image of a seed lies."""
    return Path(folder) / f"{seed - seed % 1000:06d}" / f"{seed:06d}.png"


class PngShard:
    """The images of one shard of one cell.

    Args:
        folder: of the cell; other shards write to it too.
    """

    def __init__(self, folder: str | os.PathLike, seeds: Sequence[int]) -> None:
        self.folder = Path(folder)
        self.seeds = list(seeds)
        name = f".{self.folder.name}_{self.seeds[0]}-{self.seeds[-1]}"
        self._partial = self.folder.with_name(name)
        self._done = self.folder.with_name(f"{name}.done")

    def holds(self, name: str) -> bool:
        """Whether the folder has this shard's images of the cell called ``name``."""
        return self._done.is_file() and self._done.read_text(encoding="utf-8") == name

    def clear(self) -> None:
        """Forget images that were added and not published."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, seeds: Sequence[int], x: Tensor) -> None:
        """Write the images of ``seeds``, x (n, 1 or 3, H, W) in [-1, 1], not yet in their place."""
        for seed, image in zip(seeds, to_uint8(x).cpu().numpy(), strict=True):
            path = png_path(self._partial, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, image)

    def publish(self, name: str) -> None:
        """Move the whole shard into the folder, as that of the cell called ``name``."""
        self._done.unlink(missing_ok=True)  # images of another cell are about to be replaced
        for seed in self.seeds:
            path = png_path(self.folder, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            png_path(self._partial, seed).replace(path)
        shutil.rmtree(self._partial)
        write_text(self._done, name)
