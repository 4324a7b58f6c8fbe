"""Two lists at once: the levels of the solver's formulas, and those that the denoiser is told.

LD3 (2405.15506) decouples the two by back-propagation; here the same natural actor-critic learns both
(`endpoint`), of any solver that evaluates at the listed levels only.  To the K - 1 decisions of
`actors.ShareActor` come K - 1 more, how far the told level of an interior step lies from its own:

    ln(told_k / sigma_k) = g_k a_k,    a_k ~ N(c_k, noise^2),    g_k: half of ln(sigma_{k-1} / sigma_{k+1})

with g_k of the base density, so that noise and trust region mean the same shares of a step as for levels.
c_k = 0 is the list alone, where learning starts.
"""

import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.learning.actors import KNOTS, Episode, ShareActor
from art_rl.schedules.hand_made import Density

__all__ = ["DecoupledActor"]


class DecoupledActor(ShareActor):
    """See the module's docstring; arguments of `actors.ShareActor`.

    Coefficients are those of the density (J,), then c (K - 1,); decisions the levels', then the told ones'.
    Levels are pairs of lists, (N, 2, K + 1): the formulas', then the told ones with both ends as they are.
    """

    PER_LEVEL = 2

    def __init__(
        self, density: Density, K: int, sigma_max: float, sigma_min: float, knots: int = KNOTS
    ) -> None:
        super().__init__(density, K, sigma_max, sigma_min, knots)
        zeros = torch.zeros(1, K - 1, dtype=torch.float64)
        base = super().rollout(super().start(), zeros, 0.0, gradients=False).sigmas[0]
        gaps = -base[:-1].log().diff()
        # g_k; the last level has no neighbour below but 0 and counts the gap above it.
        self.gaps = (gaps + torch.cat([gaps[1:], gaps[-1:]])) / 2

    def start(self) -> Tensor:
        """(J + K - 1,) coefficients of the base schedule with no second list: zeros."""
        return torch.zeros(self.hats.shape[1] + self.K - 1, dtype=torch.float64)

    def rollout(
        self, coefficients: Tensor, normals: Tensor, noise: float, gradients: bool = True
    ) -> Episode:
        """Clocks and told levels with actions mu + noise * normals; `ShareActor.rollout`.

        Args:
            coefficients: (J + K - 1,).
            normals: (N, 2 (K - 1)) standard normal draws.
            noise: standard deviation of every action, >= 0.
            gradients: compute d mu / d coefficients too.
        """
        J, n = self.hats.shape[1], self.K - 1
        clock = super().rollout(coefficients[:J], normals[:, :n], noise, gradients)
        moves = coefficients[J:] + noise * normals[:, n:]
        told = clock.sigmas.clone()
        told[:, 1:-1] *= torch.exp(self.gaps * moves)
        slope = None
        if gradients:
            slope = torch.zeros(len(normals), 2 * n, J + n, dtype=torch.float64)
            slope[:, :n, :J] = given(clock.gradients, "gradients")
            slope[:, n:, J:] = torch.eye(n, dtype=torch.float64)
        return Episode(
            clock.u,
            torch.cat([clock.actions, moves], 1),
            torch.cat([clock.means, coefficients[J:].expand_as(moves)], 1),
            slope,
            torch.stack([clock.sigmas, told], 1),
        )
