"""Wasserstein-2 distance of a 1-D sample to a Gaussian mixture, exact, and its sampling floor.

W2^2 = int_0^1 (F_n^-1(u) - F^-1(u))^2 du with F_n the sample's and F the mixture's distribution
function.  F_n^-1 is constant on each cell ((i-1)/n, i/n), so with z = (q - m_k) / s_k between the cell's
quantiles and d = m_k - x_i the cell's share is known in closed form, without discretisation:

    sum_k w_k (d^2 [Phi(z)] - 2 d s_k [phi(z)] + s_k^2 ([Phi(z)] - [z phi(z)]))

Distances to the sample enter, never positions: nothing is lost where the data is far from 0.
"""

import numpy as np
import scipy

from art_rl.checks import check_seed
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
        means = mixture.means.numpy()[:, 0]
        self._centre = float(self._w @ means)
        self._m = means - self._centre
        self._s = mixture.stds.numpy()
        # (n + 1, components) at the edges of the cells, then differences over each cell.
        z = (self._quantiles(np.arange(1, n) / n)[:, None] - self._m) / self._s
        bell = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)

        def over_cells(inner: np.ndarray, last: float) -> np.ndarray:
            below, above = np.zeros((1, len(self._w))), np.full((1, len(self._w)), last)
            return np.diff(np.concatenate([below, inner, above]), axis=0)

        self._mass = over_cells(scipy.special.ndtr(z), 1.0)
        self._first = self._s * over_cells(bell, 0.0)
        self._second = self._s**2 * (self._mass - over_cells(z * bell, 0.0))

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return scipy.special.ndtr((x[..., None] - self._m) / self._s) @ self._w

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        z = (x[..., None] - self._m) / self._s
        return (np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * self._s)) @ self._w

    def _quantiles(self, u: np.ndarray) -> np.ndarray:
        """F^-1(u) from the mixture's mean on, by Newton steps kept inside a bisection bracket."""
        reach = 40 * self._s.max()
        low = np.full(u.shape, self._m.min() - reach)
        high = np.full(u.shape, self._m.max() + reach)
        x = (low + high) / 2
        for _ in range(200):
            error = self._cdf(x) - u
            low, high = np.where(error <= 0, x, low), np.where(error > 0, x, high)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                newton = x - error / self._pdf(x)
            updated = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
            if np.all(np.abs(updated - x) <= 1e-14 * (self._s.max() + np.abs(x))):
                return updated
            x = updated
        return x

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
        gap = self._m - (x - self._centre)[:, None]
        cells = gap**2 * self._mass - 2 * gap * self._first + self._second
        return float(np.sqrt(max((cells @ self._w).sum(), 0.0)))


def sampling_floor(mixture: GaussianMixture, n: int, repeats: int, seed: int) -> np.ndarray:
    """W2 of ``repeats`` exact samples of size n: what no sampler can be expected to beat; (repeats,)."""
    import torch

    quantiles = MixtureQuantiles(mixture, n)
    generator = torch.Generator().manual_seed(check_seed(seed))
    return np.array([quantiles.w2(mixture.sample(n, generator).numpy()) for _ in range(repeats)])
