"""Exact denoisers: isotropic Gaussian and mixtures of isotropic Gaussians, in any dimension.

For data sum_j w_j N(m_j, s_j^2 I) noised to level sigma, component j has posterior mean
(s_j^2 x + sigma^2 m_j) / (s_j^2 + sigma^2) and responsibility proportional to
w_j N(x; m_j, (s_j^2 + sigma^2) I).  All operations are plain tensor operations, so reverse- and
forward-mode differentiation and torch.func transforms work.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from art_rl.denoisers.base import expand_sigma
from art_rl.denoisers.checks import check_call
from art_rl.errors import ArtRLError
from art_rl.files import digest


class GaussianMixture:
    """Mixture of isotropic Gaussians with its exact denoiser.

    Args:
        weights: (J,), positive, normalised here.
        means: (J, d).
        stds: (J,), positive; standard deviation of each component in every coordinate.
        shape: shape of one sample, d entries in all; (d,) by default.

    ``sigma_data`` is the root mean variance per coordinate.

    Raises:
        ArtRLError: sizes disagree, a weight or standard deviation is not positive and finite.
    """

    label_dim = 0
    exact = True

    def __init__(
        self,
        weights: Sequence[float],
        means: Sequence[Sequence[float]],
        stds: Sequence[float],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.stds = torch.as_tensor(stds, dtype=torch.float64)
        if self.weights.ndim != 1 or len(self.weights) == 0:
            raise ArtRLError("weights must be a non-empty flat list")
        J = len(self.weights)
        if self.means.ndim != 2 or len(self.means) != J or self.stds.shape != (J,):
            raise ArtRLError(
                f"a mixture of {J} weights needs means of shape ({J}, d) and {J} stds, "
                f"got shapes {tuple(self.means.shape)} and {tuple(self.stds.shape)}"
            )
        for name, values in (("weights", self.weights), ("stds", self.stds)):
            bad = torch.nonzero(~(torch.isfinite(values) & (values > 0)))
            if len(bad):
                index = int(bad[0])
                raise ArtRLError(
                    f"{name}[{index}] must be positive and finite, got {values[index]}"
                )
        if not torch.isfinite(self.means).all():
            raise ArtRLError("means must be finite")
        self.weights = self.weights / self.weights.sum()
        self.dim = self.means.shape[1]
        self.shape = (self.dim,) if shape is None else tuple(shape)
        if math.prod(self.shape) != self.dim:
            raise ArtRLError(f"shape {self.shape} does not hold d = {self.dim} coordinates")
        self.centre = self.weights @ self.means
        spread = (self.weights[:, None] * (self.means - self.centre) ** 2).sum(0).mean()
        self.sigma_data = float(torch.sqrt(spread + self.weights @ self.stds**2))
        self.digest = digest(
            {
                "kind": "gaussian_mixture",
                "weights": self.weights.tolist(),
                "means": self.means.tolist(),
                "stds": self.stds.tolist(),
                "shape": list(self.shape),
            }
        )

    def __call__(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """D(x; sigma) in x's dtype; x (B, *shape), sigma () or (B,), >= 0."""
        check_call(x, sigma, class_labels, self.shape, 0, at_zero=True)
        flat = x.reshape(len(x), self.dim)
        weights, means, stds = (
            value.to(x.dtype).to(x.device) for value in (self.weights, self.means, self.stds)
        )
        # Components along the first axis: reductions over a short last axis are several times slower.
        variance = expand_sigma(sigma, flat).reshape(1, -1) ** 2  # (1, 1) or (1, B)
        total = (stds**2)[:, None] + variance  # (J, 1) or (J, B)
        if self.dim == 1:
            squares = (flat[:, 0] - means) ** 2  # (J, B)
        else:
            # From the centre c of the data: |y|^2 - 2 y.n + |n|^2 with y = x - c, n = m - c, one pass over
            # x instead of J.  Rounding enters the exponent as eps |y|^2 / total, near the data about
            # eps d (1 + (spread of the means / smallest std)^2): 4e-13 for gmm64d in float64.
            centre = self.centre.to(x.dtype).to(x.device)
            y, n = flat - centre, means - centre
            squares = (n * n).sum(-1)[:, None] + torch.linalg.vecdot(y, y) - 2 * (n @ y.T)
        prior = torch.log(weights)[:, None] - 0.5 * self.dim * torch.log(total)
        share = torch.softmax(prior - 0.5 * squares / total, dim=0) / total  # (J, B)
        keep = (stds**2 @ share)[:, None]  # weight of x in the posterior mean
        return torch.addmm(keep * flat, (share * variance).T, means).reshape(x.shape)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n exact draws, float64, (n, *shape)."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, dtype=torch.float64, generator=generator)
        flat = self.means[component] + self.stds[component, None] * noise
        return flat.reshape(n, *self.shape)


class Gaussian(GaussianMixture):
    """Isotropic Gaussian data N(mean, std^2 I) in ``dim`` dimensions; the flow is known in closed form."""

    def __init__(self, std: float, dim: int = 1, mean: float = 0.0) -> None:
        super().__init__([1.0], [[mean] * dim], [std])
        self.mean, self.std = float(mean), float(std)

    def flow(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """Exact probability-flow solution from level ``sigma`` to ``sigma_next``."""
        ratio = math.sqrt((self.std**2 + sigma_next**2) / (self.std**2 + sigma**2))
        return self.mean + (x - self.mean) * ratio
