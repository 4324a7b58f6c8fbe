"""|Q| of a rollout from the D it evaluates anyway: one network call per clock step, no more.

    |Q| between sigma_(k-1) and sigma_k
        ~  |D_(k-1) - D_k| / (sqrt(sigma_(k-1) sigma_k) (sigma_(k-1) - sigma_k))

It is known when sigma_k is reached and stands for the state there (a bias of first order in the step);
at the first level the mean |Q| of the table is used.
"""

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, expand_sigma
from art_rl.learning.flow import norm
from art_rl.learning.table import TableEnvironment

# Steps below this share of sigma say nothing about |Q|: rounding is divided by them.
_LEAST_STEP = 0.01


class RolloutQ:
    """A `flow.QFunction` with memory, for one EulerEnvironment: rollouts begin at sigma_max.

    Args:
        table: exact trajectories of the model; gives |Q| at sigma_max.
    """

    def __init__(self, table: TableEnvironment) -> None:
        self.sigma_max = table.lattice.sigma_max
        self.first_q = float(table.mean_q[-1])
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(dx/dsigma, Q), both shaped like x; one call of the denoiser."""
        with torch.no_grad():
            denoised = denoiser(x, sigma, class_labels).to(x.dtype)
            slope = (x - denoised) / expand_sigma(sigma, x)
            if self.last is None or bool((sigma >= self.sigma_max * (1 - 1e-9)).all()):
                q = slope / expand_sigma(norm(slope).clamp_min(1e-300), x) * self.first_q
            else:
                before, level, known = self.last
                step = level - sigma
                steady = step < _LEAST_STEP * level
                scale = torch.sqrt(level * sigma) * torch.where(steady, level, step)
                q = (before - denoised) / expand_sigma(scale, x)
                q = torch.where(expand_sigma(steady.to(x.dtype), x) > 0, known, q)
            self.last = denoised, sigma, q
        return slope, q
