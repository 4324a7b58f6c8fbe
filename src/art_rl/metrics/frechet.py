"""Frechet distance between feature distributions, from streamed float64 moments.

    FD^2 = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)      (Heusel et al. 2017, eq. 6)

The value everyone calls FID is this square.  With S_i = A_i A_i^T the last trace is the nuclear norm
of A_1^T A_2 (the square roots of the eigenvalues of S1 S2 are its singular values), so two symmetric
eigenvalue problems and one set of singular values replace the square root of a non-symmetric matrix:
always real, and exact for covariances that do not have full rank.

Moments are kept as (n, sum of features, sum of outer products of the differences to the mean), merged
over batches and shards in any split by

    outer = outer_a + outer_b + n_a n_b / (n_a + n_b) d d^T,   d = mean_b - mean_a   (Chan et al. 1983)

Sums of raw products would lose the covariance where the mean is 1e7 spreads away.  The covariance
divides by n - 1, as in the official protocol.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from art_rl.errors import ArtRLError
from art_rl.files import read_npz, write_npz

INCEPTION_SIZE = 2048  # features of an official reference


@dataclass
class Moments:
    """Running sums of feature vectors.

    Attributes:
        n: number of vectors seen.
        total: float64 (d,), their sum.
        outer: float64 (d, d), the sum of the outer products of their differences to their mean.
    """

    n: int
    total: np.ndarray
    outer: np.ndarray

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """Moments of no vectors, feature size ``dim``."""
        if dim < 1:
            raise ArtRLError(f"feature size must be at least 1, got {dim}")
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    @classmethod
    def of(cls, features: ArrayLike) -> "Moments":
        """Moments of one array (n, d)."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2:
            raise ArtRLError(f"features must have shape (n, d), got {features.shape}")
        moments = cls.empty(features.shape[1])
        moments.update(features)
        return moments

    @property
    def dim(self) -> int:
        """Feature size d."""
        return len(self.total)

    def update(self, features: ArrayLike) -> None:
        """Add a batch (n, d) of finite features; ArtRLError for another size, NaN or infinity."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ArtRLError(f"features must have shape (n, {self.dim}), got {features.shape}")
        if not np.isfinite(features).all():
            bad = int(np.argmax(~np.isfinite(features).all(1)))
            raise ArtRLError(f"features must be finite, row {bad} of this batch is not")
        if len(features):
            total = features.sum(0)
            centred = features - total / len(features)
            merged = self + Moments(len(features), total, centred.T @ centred)
            self.n, self.total, self.outer = merged.n, merged.total, merged.outer

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets together; ArtRLError if the feature sizes differ."""
        if self.dim != other.dim:
            raise ArtRLError(
                f"moments of feature sizes {self.dim} and {other.dim} cannot be merged"
            )
        n = self.n + other.n
        outer = self.outer + other.outer
        if self.n and other.n:
            gap = other.total / other.n - self.total / self.n
            outer += (self.n * other.n / n) * np.outer(gap, gap)
        return Moments(n, self.total + other.total, outer)

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """(mu (d,), sigma (d, d)), unbiased (n - 1); ArtRLError for fewer than 2 vectors."""
        if self.n < 2:
            raise ArtRLError(f"a covariance needs at least 2 images, got {self.n}")
        return self.total / self.n, self.outer / (self.n - 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """n () int64, total (d,), centred (d, d): what files hold."""
        return {"n": np.array(self.n, np.int64), "total": self.total, "centred": self.outer}

    def save(self, path: str | os.PathLike) -> None:
        """Write as ``.npz`` (n, total, centred), atomically."""
        arrays: dict[str, Any] = {**self.arrays()}
        write_npz(path, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Moments":
        """Read what ``save`` wrote; anything else is an ArtRLError naming the file."""
        arrays = read_npz(path)
        if set(arrays) != {"n", "total", "centred"}:
            raise ArtRLError(
                f"{path}: a moments file holds n, total, centred; this one {sorted(arrays)}"
            )
        n, total, outer = arrays["n"], arrays["total"], arrays["centred"]
        if n.dtype.kind not in "iu":
            raise ArtRLError(f"{path}: n must be a whole number, got dtype {n.dtype}")
        if total.ndim != 1 or outer.shape != (len(total), len(total)) or n.shape != () or n < 0:
            raise ArtRLError(
                f"{path}: shapes do not fit: n {n.shape}, total {total.shape}, centred {outer.shape}"
            )
        for key, value in (("total", total), ("centred", outer)):
            if not np.isfinite(value).all():
                raise ArtRLError(f"{path}: {key} must be finite")
        if n == 0 and (total.any() or outer.any()):
            raise ArtRLError(f"{path}: n is 0, but total and centred are not")
        return cls(int(n), total.astype(np.float64), outer.astype(np.float64))


def merge(parts: Iterable[Moments]) -> Moments:
    """Sum of moments in the given order (use seed order: float sums then repeat to the last bit)."""
    parts = iter(parts)
    merged = next(parts, None)
    if merged is None:
        raise ArtRLError("no moments to merge: the list of shards is empty")
    for part in parts:
        merged = merged + part
    return merged


# A covariance summed up in float32 is symmetric and positive semidefinite to this share of its trace.
_COVARIANCE_TOLERANCE = 1e-4


def _mean_and_covariance(
    mu: ArrayLike, sigma: ArrayLike, mu_name: str, sigma_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """float64 (d,) and (d, d); ArtRLError, starting with the name, for other shapes or no finite numbers."""
    arrays = []
    for name, value in ((mu_name, np.asarray(mu)), (sigma_name, np.asarray(sigma))):
        if value.dtype.kind not in "fiu":
            raise ArtRLError(f"{name} must hold numbers, got dtype {value.dtype}")
        arrays.append(value.astype(np.float64))
    mu, sigma = arrays
    if mu.ndim != 1 or not len(mu):
        raise ArtRLError(f"{mu_name} must have shape (d,), got {mu.shape}")
    if sigma.shape != (len(mu), len(mu)):
        raise ArtRLError(
            f"{sigma_name} must have shape {(len(mu), len(mu))} to go with mu {mu.shape}, "
            f"got {sigma.shape}"
        )
    for name, value in ((mu_name, mu), (sigma_name, sigma)):
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            index = tuple(bad[0].tolist())
            raise ArtRLError(
                f"{name} must be finite, {len(bad)} of {value.size} entries are not, the first at "
                f"{list(index)}: {value[index]}"
            )
    return mu, sigma


def _check_covariance(sigma: np.ndarray, eigenvalues: np.ndarray, name: str) -> None:
    """Refuse (d, d) that is not symmetric or, by its ascending eigenvalues, not positive semidefinite."""
    trace = float(np.trace(sigma))
    slack = _COVARIANCE_TOLERANCE * abs(trace)
    gap = float(np.abs(sigma - sigma.T).max())
    if gap > slack:
        raise ArtRLError(f"{name} must be symmetric, entries differ by up to {gap:g}")
    if (least := float(eigenvalues[0])) < -slack:
        raise ArtRLError(
            f"{name} must be positive semidefinite, its least eigenvalue is {least:g} "
            f"(trace {trace:g})"
        )


def _root_factor(covariance: np.ndarray, name: str) -> np.ndarray:
    """A with A A^T = covariance; eigenvalues that are rounding noise around 0 are dropped."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    _check_covariance(covariance, values, name)
    keep = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, keep] * np.sqrt(values[keep])


def frechet_distance(
    mu_a: np.ndarray, sigma_a: np.ndarray, mu_b: np.ndarray, sigma_b: np.ndarray
) -> float:
    """Squared Frechet distance of two Gaussians, >= 0; what the literature reports as FID.

    Args:
        mu_a, mu_b: means (d,).
        sigma_a, sigma_b: covariances (d, d), symmetric positive semidefinite, any rank.

    Raises:
        ArtRLError: sizes differ, a value is no finite number, or a covariance is not symmetric or not
            positive semidefinite (to 1e-4 of its trace).
    """
    mu_a, sigma_a = _mean_and_covariance(mu_a, sigma_a, "mu_a", "sigma_a")
    mu_b, sigma_b = _mean_and_covariance(mu_b, sigma_b, "mu_b", "sigma_b")
    if mu_b.shape != mu_a.shape:
        raise ArtRLError(
            f"mu_b must have shape {mu_a.shape} to go with mu_a, got {mu_b.shape}: "
            "both sets need the same feature extractor"
        )
    difference = mu_a - mu_b
    root_a, root_b = _root_factor(sigma_a, "sigma_a"), _root_factor(sigma_b, "sigma_b")
    overlap = np.linalg.svd(root_a.T @ root_b, compute_uv=False).sum() if root_a.size else 0.0
    spread = np.trace(sigma_a) + np.trace(sigma_b)
    # Identical sets give 0 up to rounding of either sign; a distance is not negative.
    return max(float(difference @ difference + spread - 2 * overlap), 0.0)


@dataclass(frozen=True)
class Target:
    """A fixed set that many others are compared with, factorised once.

    With S_b = B B^T, tr (S_a S_b)^(1/2) is the sum of the square roots of the eigenvalues of
    B^T S_a B: one symmetric eigenvalue problem per comparison instead of three decompositions.
    Eigenvalues near 0 carry rounding of eps times the largest, so the distance is good to about
    1e-6 of the traces (frechet_distance: 1e-12), far below what 50,000 images decide.

    Attributes:
        mu: float64 (d,).
        root: B, float64 (d, rank).
        spread: tr S_b.
    """

    mu: np.ndarray
    root: np.ndarray
    spread: float

    @classmethod
    def of(cls, mu: np.ndarray, sigma: np.ndarray) -> "Target":
        """Factorise; ArtRLError for what `frechet_distance` refuses."""
        mu, sigma = _mean_and_covariance(mu, sigma, "mu", "sigma")
        return cls(mu, _root_factor(sigma, "sigma"), float(np.trace(sigma)))

    def distance(self, moments: Moments) -> float:
        """Squared Frechet distance, >= 0; ArtRLError for another feature size, fewer than 2 images."""
        if moments.dim != len(self.mu):
            raise ArtRLError(
                f"the reference has feature size {len(self.mu)}, the images {moments.dim}: both need "
                "the same feature extractor"
            )
        mu, sigma = moments.mean_and_covariance()
        product = self.root.T @ sigma @ self.root
        overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
        difference = mu - self.mu
        return max(
            float(difference @ difference + np.trace(sigma) + self.spread - 2 * overlap), 0.0
        )


def frechet_between(a: Moments, b: Moments) -> float:
    """Squared Frechet distance of two sets of moments; ArtRLError if either has fewer than 2."""
    return frechet_distance(*a.mean_and_covariance(), *b.mean_and_covariance())


def load_reference(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(mu, sigma) of a reference file: an official one of EDM (``mu``, ``sigma``), or of Moments.

    Raises:
        ArtRLError: the file holds neither, or what it holds is not a mean and a covariance (as for
            `frechet_distance`); the message names the file and the key.
    """
    arrays = read_npz(path)
    if not {"mu", "sigma"} <= set(arrays):
        moments = Moments.load(path)
        if moments.n < 2:
            raise ArtRLError(
                f"{path}: n (number of images) of a reference must be at least 2, got {moments.n}"
            )
        pair, names = moments.mean_and_covariance(), ("the mean", "the covariance of centred")
    else:
        pair, names = (arrays["mu"], arrays["sigma"]), ("mu", "sigma")
    mu_name, sigma_name = (f"{path}: {name}" for name in names)
    mu, sigma = _mean_and_covariance(*pair, mu_name, sigma_name)
    _check_covariance(sigma, np.linalg.eigvalsh((sigma + sigma.T) / 2), sigma_name)
    return mu, sigma
