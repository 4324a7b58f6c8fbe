"""LeNet: a small classifier whose penultimate layer is the feature space for digit images.

The layout of LeCun et al. 1998 (two convolutions with pooling, layers of 120 and 84), with rectifiers,
max pooling and wider convolutions; a variant for 8x8 images pools less.  Input is uint8, as for the
Inception features of FID, so clipping and rounding to 8 bits are part of the metric.
"""

import os
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from art_rl.denoisers.checks import check_class_indices, check_images
from art_rl.denoisers.weights import load_weights
from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, digest, read_json, write_json
from art_rl.flow.seeds import to_uint8
from art_rl.settings.networks import LeNetSettings

FORMAT = "art_rl.lenet"
FEATURES = 84


class LeNet(nn.Module):
    """uint8 (B, 1, size, size) -> logits; ``features`` gives the penultimate layer (B, 84)."""

    def __init__(self, size: int, classes: int = 10) -> None:
        super().__init__()
        if size not in (8, 32):
            raise ArtRLError(f"LeNet takes images of size 8 or 32, got {size}")
        self.size, self.classes = size, classes
        if size == 32:
            self.conv0, self.conv1 = nn.Conv2d(1, 16, 5), nn.Conv2d(16, 32, 5)
            self.dense0 = nn.Linear(32 * 5 * 5, 120)
        else:
            self.conv0, self.conv1 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
            self.dense0 = nn.Linear(64 * 2 * 2, 120)
        self.dense1 = nn.Linear(120, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """float32 (B, 84) after the rectifier, >= 0."""
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (1, self.size, self.size):
            raise ArtRLError(
                f"LeNet takes uint8 images (B, 1, {self.size}, {self.size}), "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        x = images.float() / 127.5 - 1
        x = functional.max_pool2d(functional.relu(self.conv0(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.relu(self.dense0(x.flatten(1)))
        return functional.relu(self.dense1(x))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of uint8 images (N, 1, size, size)."""
        return self.head(self.features(images))

    @property
    def digest(self) -> str:
        """SHA-256 over size and weights."""
        return digest([FORMAT, self.size, self.classes, _weights(self).hex()])


def _weights(model: LeNet) -> bytes:
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return save(dict(sorted(state.items())))


def _shifted(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Every image moved by its own (dy, dx) in [-reach, reach]^2, edges filled with black."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4, value=0)
    offsets = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], 0, rows, columns]


@torch.no_grad()
def accuracy(model: LeNet, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    """Share of float images (N, 1, H, W) in [-1, 1] classified right; labels int64 (N,).

    Raises:
        ArtRLError: images or labels of another shape, dtype or range.
    """
    check_images(images)
    check_class_indices(labels, len(images))
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(images), batch_size):
        logits = model(to_uint8(images[start : start + batch_size]).to(device))
        right += int((logits.argmax(1).cpu() == labels[start : start + batch_size]).sum())
    return right / len(images)


def train_lenet(
    images: Tensor,
    labels: Tensor,
    settings: LeNetSettings | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> LeNet:
    """Train on float images (N, 1, H, W) in [-1, 1] and labels int64 (N,); evaluation mode.

    Raises:
        ArtRLError: images or labels of another shape, dtype or range.
    """
    check_images(images)
    check_class_indices(labels, len(images))
    settings = (settings or LeNetSettings()).resolved(images.shape[-1])
    pixels = to_uint8(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LeNet(images.shape[-1], int(labels.max()) + 1)
    model.to(device)
    generator = torch.Generator().manual_seed(settings.seed)
    # `resolved` has filled both in.
    epochs, batch_size = cast(int, settings.epochs), cast(int, settings.batch_size)
    batches = (len(images) + batch_size - 1) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=epochs * batches
    )
    for _ in tqdm(range(epochs), desc="LeNet", disable=not progress):
        order = torch.randperm(len(images), generator=generator)
        for pick in order.split(batch_size):
            batch = _shifted(pixels[pick], settings.shift, generator)
            loss = functional.cross_entropy(model(batch.to(device)), labels[pick].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def save_lenet(
    path: str | os.PathLike,
    model: LeNet,
    test_accuracy: float,
    settings: LeNetSettings | None = None,
) -> str:
    """Write ``<name>.safetensors`` and ``<name>.json`` (size, digest, accuracy); returns the digest."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_weights(model))
    write_json(
        path.with_suffix(".json"),
        {
            "format": FORMAT,
            "size": model.size,
            "classes": model.classes,
            "digest": model.digest,
            "test_accuracy": test_accuracy,
            "settings": settings.resolved(model.size).to_dict() if settings else None,
        },
    )
    return model.digest


def load_lenet(path: str | os.PathLike, device: torch.device | str = "cpu") -> LeNet:
    """Read what ``save_lenet`` wrote; ArtRLError for files that are damaged or do not fit."""
    path = Path(path)
    header = read_json(path.with_suffix(".json"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ArtRLError(f"{path.with_suffix('.json')}: not a {FORMAT} file")
    return load_weights(path, header, lambda: LeNet(header["size"], header["classes"]), device)
