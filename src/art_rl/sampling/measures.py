"""What is measured at the end of a trajectory.

    rmse    root mean square, over seeds and coordinates, of the difference between a sample (float64, not
            clipped) and the fine reference solution from the same noise: the discretisation error alone
    fid     Frechet distance of feature moments (uint8 images) to the target statistics: the model's error,
            the discretisation error and sampling noise together
    w2      1-D targets: Wasserstein-2 distance of a seed block to the exact target (2601.18681, Table 1)

A measure is fed batch by batch (``update``), keeps sums instead of samples where it can (``collect``), puts
shards together in the order of their seeds (``merge``), and turns the whole block into numbers
(``values``).  Sampling needs the first two, evaluation the last two.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.files import read_npz
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import Moments
from art_rl.metrics.frechet import merge as merge_moments
from art_rl.metrics.wasserstein import MixtureQuantiles, sampling_floor

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Files:
    """The files a job has for its measures; None or empty where it has no use for them.

    Attributes:
        features: weights of the feature network.
        target: target statistics.
        reference: shards of reference endpoints.
    """

    features: str | os.PathLike | None = None
    target: str | os.PathLike | None = None
    reference: Sequence[str | os.PathLike] = ()

    def known_target(self) -> str | os.PathLike:
        """``target``; ArtRLError where there is none."""
        if self.target is None:
            raise ArtRLError("a distance needs the target statistics (Files.target), got None")
        return self.target


class Collector(Protocol):
    """The part of a measure that a job which samples needs."""

    @property
    def metric(self) -> str:
        """The column of cells files."""

    def update(self, seeds: Sequence[int], x: Tensor) -> None:
        """Take in the endpoints x (B, *shape), float64, of ``seeds``."""

    def collect(self) -> dict[str, np.ndarray]:
        """What was taken in since the last call, as arrays."""


class Measure(Collector, Protocol):
    """One way to measure samples; see the module."""

    @property
    def to_reference(self) -> bool:
        """Whether samples are compared with the fine solution, which then has no value itself."""

    @property
    def label(self) -> str | None:
        """What a reader sees for the metric, None for the usual one."""

    @property
    def note(self) -> str | None:
        """What sets the paper's numbers apart from ours, None for the usual one."""

    @property
    def digest(self) -> Any:
        """JSON-like; what the collected arrays depend on beside the samples."""

    def merge(self, parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
        """Arrays of the shards of one block, in seed order, as those of the block."""

    def value(self, arrays: Arrays) -> float:
        """The metric of a block."""


class Endpoints:
    """Reference endpoints by seed, from shard files; read when first asked for."""

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        self._paths = list(paths)
        self._images: list[np.ndarray] = []
        # Of every seed, in ascending order: its file and its row in it.
        self._seeds = self._file = self._row = np.empty(0, np.int64)

    def __call__(self, seeds: Sequence[int]) -> Tensor:
        """float64 (n, *shape); ArtRLError for a seed without a reference."""
        if len(self._images) < len(self._paths):
            self._read()
        wanted = np.asarray(seeds, np.int64)
        known = np.isin(wanted, self._seeds)
        if not known.all():
            raise ArtRLError(f"no reference endpoint for seed {wanted[~known][0]}")
        at = np.searchsorted(self._seeds, wanted)
        found = np.empty((len(wanted), *self._images[0].shape[1:]))
        for file in np.unique(self._file[at]):
            here = self._file[at] == file
            found[here] = self._images[file][self._row[at[here]]]
        return torch.from_numpy(found)

    def _read(self) -> None:
        """Load all files."""
        every = []
        for path in self._paths:
            seeds, images = load_shard(path)
            if images.dtype not in (np.float32, np.float64):
                raise ArtRLError(f"{path}: reference endpoints must be floats, got {images.dtype}")
            every.append(seeds)
            self._images.append(images)
        flat = np.concatenate(every)
        order = np.argsort(flat, kind="stable")
        self._seeds = flat[order]
        self._file = np.repeat(np.arange(len(every)), [len(seeds) for seeds in every])[order]
        self._row = np.concatenate([np.arange(len(seeds)) for seeds in every])[order]


def load_shard(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(seeds (n,), images (n, *shape)) of a shard file; ArtRLError if it is not one."""
    arrays = read_npz(path)
    if not {"seeds", "images"} <= set(arrays) or len(arrays["seeds"]) != len(arrays["images"]):
        raise ArtRLError(f"{path}: a shard holds seeds and as many images; found {sorted(arrays)}")
    return arrays["seeds"], arrays["images"]


class _Kept:
    """What is measured of every sample, as one array, kept as it is."""

    name: str  # of the array

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def collect(self) -> dict[str, np.ndarray]:
        """What was taken in since the last call, as arrays."""
        kept, self._kept = np.concatenate(self._kept), []
        return {self.name: kept}

    def merge(self, parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
        """Arrays of the shards of one block, in seed order, as those of the block."""
        return {self.name: np.concatenate([part[self.name] for part in parts])}


class EndpointRMSE(_Kept):
    """Endpoint RMSE.  Kept: squared errors, of points every coordinate's, of images their mean.

    Args:
        reference: shard files of reference endpoints.
    """

    metric, label, note, digest = "rmse", None, None, None
    to_reference, name = True, "squared_error"

    def __init__(self, reference: Sequence[str | os.PathLike] = ()) -> None:
        super().__init__()
        self._reference = Endpoints(reference)

    def update(self, seeds: Sequence[int], x: Tensor) -> None:
        """Take in the endpoints x (B, *shape), float64, of ``seeds``."""
        squared = (x - self._reference(seeds).to(x.device)) ** 2
        self._kept.append((squared.flatten(1).mean(1) if x.ndim > 2 else squared).cpu().numpy())

    def value(self, arrays: Arrays) -> float:
        """The metric of a block."""
        errors = arrays[self.name]
        if errors.ndim == 2:  # the sum and the root of the committed numbers, to the last bit
            return float(torch.from_numpy(errors).mean().sqrt())
        return float(np.sqrt(errors.mean()))


class FeatureMoments:
    """FID.  Kept: moments of the features in float64.

    Args:
        features: the feature network; None where nothing is sampled.
        distance: of a block's moments to the target statistics.
        note: see `Measure`.
    """

    metric, to_reference = "fid", False

    def __init__(
        self,
        features: Features | None,
        distance: Callable[[Moments], float],
        label: str,
        note: str | None = None,
    ) -> None:
        self._features, self._distance = features, distance
        self.label, self.note = label, note
        self.digest = features and features.digest
        self._moments: Moments | None = None

    def update(self, seeds: Sequence[int], x: Tensor) -> None:
        """Take in the endpoints x (B, *shape), float64, of ``seeds``."""
        if self._features is None:
            raise ArtRLError("a job that samples needs the weights of the feature network")
        if self._moments is None:
            self._moments = Moments.empty(self._features.dim)
        self._moments.update(self._features(to_uint8(x)).numpy())

    def collect(self) -> dict[str, np.ndarray]:
        """What was taken in since the last call, as arrays."""
        moments, self._moments = self._moments, None
        return given(moments, "samples to collect").arrays()

    def merge(self, parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
        """Arrays of the shards of one block, in seed order, as those of the block."""
        return merge_moments(map(self._read, parts)).arrays()

    def value(self, arrays: Arrays) -> float:
        """The metric of a block."""
        return self._distance(self._read(arrays))

    @staticmethod
    def _read(arrays: Arrays) -> Moments:
        return Moments(int(arrays["n"]), arrays["total"], arrays["centred"])


# Repeats behind the floor of exact samples: its mean is then known to about 5 % of its spread.
FLOOR_REPEATS = 50


class ExactW2(_Kept):
    """W2 to a 1-D target.  Kept: the samples themselves, one number each."""

    metric, label, note, digest = "w2", None, None, None
    to_reference, name = False, "samples"

    def __init__(self, denoiser: GaussianMixture) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._quantiles: dict[int, MixtureQuantiles] = {}

    def update(self, seeds: Sequence[int], x: Tensor) -> None:
        """Take in the endpoints x (B, *shape), float64, of ``seeds``."""
        self._kept.append(x.flatten().cpu().numpy())

    def value(self, arrays: Arrays) -> float:
        """The metric of a block."""
        samples = arrays[self.name]
        if len(samples) not in self._quantiles:
            self._quantiles[len(samples)] = MixtureQuantiles(self.denoiser, len(samples))
        return self._quantiles[len(samples)].w2(samples)

    def floor(self, samples: int, seed: int) -> float:
        """Mean W2 of exact samples of the same size: what no schedule can be expected to beat."""
        return float(sampling_floor(self.denoiser, samples, FLOOR_REPEATS, seed).mean())
