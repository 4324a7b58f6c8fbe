"""A 1-D mixture's distribution function and its inverse at any point: exact maps of the flow."""

import numpy as np

from art_rl.metrics.wasserstein import MixtureQuantiles


class Quantiles(MixtureQuantiles):
    """With the functions behind its cells in the mixture's own coordinate."""

    def cdf(self, x):
        """F(x), same shape as x."""
        return self._cdf(np.asarray(x) - self._centre)

    def pdf(self, x):
        """Density at x."""
        return self._pdf(np.asarray(x) - self._centre)

    def quantile(self, u):
        """F^-1(u) for float64 ``u`` in (0, 1), same shape."""
        return self._centre + self._quantiles(np.asarray(u, dtype=np.float64))

    def cell_means(self):
        """Means of the quantile function over the n cells: the n points of least W2; (n,)."""
        return self._centre + self.n * ((self._m * self._mass - self._first) @ self._w)
