"""Wasserstein-2 distance of a 1-D sample to a Gaussian mixture, exact, and its sampling floor.

W2^2 = int_0^1 (F_n^-1(u) - F^-1(u))^2 du with F_n the sample's and F the mixture's distribution
function.  F_n^-1 is constant on each cell ((i-1)/n, i/n), and there the integrals of F^-1 and its
square are the mixture's partial moments between quantiles, known in closed form: no discretisation.
"""

import numpy as np
from scipy.special import ndtr

from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError


class MixtureQuantiles:
    """Exact quantile cells of a 1-D mixture for samples of size n; reusable across samples.

    Args:
        mixture: GaussianMixture with dim == 1.
        n: sample size, >= 1.
    """

    def __init__(self, mixture: GaussianMixture, n: int) -> None:
        if mixture.dim != 1:
            raise ArtRLError(
                f"Wasserstein-2 by quantiles needs a 1-D mixture, got dim = {mixture.dim}"
            )
        if n < 1:
            raise ArtRLError(f"n (sample size) must be at least 1, got {n}")
        self.n = n
        self._w = mixture.weights.numpy()
        self._m = mixture.means.numpy()[:, 0]
        self._s = mixture.stds.numpy()
        edges = self._quantiles(np.arange(1, n) / n)
        first, second = self._partial_moments(edges)
        self._first, self._second = np.diff(first), np.diff(second)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """F(x), same shape as x."""
        return ndtr((np.asarray(x)[..., None] - self._m) / self._s) @ self._w

    def pdf(self, x: np.ndarray) -> np.ndarray:
        """Density at x."""
        z = (np.asarray(x)[..., None] - self._m) / self._s
        return (np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * self._s)) @ self._w

    def _quantiles(self, u: np.ndarray) -> np.ndarray:
        """F^-1(u) by Newton steps kept inside a bisection bracket."""
        reach = 40 * self._s.max()
        low = np.full(u.shape, self._m.min() - reach)
        high = np.full(u.shape, self._m.max() + reach)
        x = (low + high) / 2
        for _ in range(200):
            error = self.cdf(x) - u
            low, high = np.where(error <= 0, x, low), np.where(error > 0, x, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = x - error / self.pdf(x)
            updated = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
            if np.all(np.abs(updated - x) <= 1e-14 * (1 + np.abs(x))):
                return updated
            x = updated
        return x

    def _partial_moments(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int x p and int x^2 p from -inf to each of (-inf, *edges, +inf)."""
        z = (edges[:, None] - self._m) / self._s
        bell = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        below = ndtr(z)
        first = (self._m * below - self._s * bell) @ self._w
        second = (
            (self._m**2 + self._s**2) * below - self._s * (self._m + edges[:, None]) * bell
        ) @ self._w
        totals = self._m @ self._w, (self._m**2 + self._s**2) @ self._w
        return (
            np.concatenate([[0.0], first, [totals[0]]]),
            np.concatenate([[0.0], second, [totals[1]]]),
        )

    def w2(self, samples: np.ndarray) -> float:
        """Wasserstein-2 distance of ``samples`` (n values, any shape) to the mixture.

        Raises:
            ArtRLError: wrong sample size, or a sample that is not finite.
        """
        x = np.sort(np.asarray(samples, dtype=np.float64).ravel())
        if x.size != self.n:
            raise ArtRLError(f"prepared for n = {self.n} samples, got {x.size}")
        if not np.isfinite(x).all():
            raise ArtRLError(
                f"samples must be finite, {np.sum(~np.isfinite(x))} of {x.size} are not"
            )
        squared = np.sum(x**2 / self.n - 2 * x * self._first + self._second)
        return float(np.sqrt(max(squared, 0.0)))


def sampling_floor(mixture: GaussianMixture, n: int, repeats: int, seed: int) -> np.ndarray:
    """W2 of ``repeats`` exact samples of size n: what no sampler can be expected to beat; (repeats,)."""
    import torch

    quantiles = MixtureQuantiles(mixture, n)
    generator = torch.Generator().manual_seed(seed)
    return np.array([quantiles.w2(mixture.sample(n, generator).numpy()) for _ in range(repeats)])
