"""Why Algorithm 1's literal left-end sum cannot be the cost at few steps, measured at K = 3.

    left-end sum   (K/T) sum_k q(sigma_k) h_k^2            the papers' sum |Q_k| theta_k^2 dt
    held cost J_K  (K/T) sum_k h_k int_{step k} q dsigma   theta held over each step (`schedules.steps`)

h_k = sigma_k - sigma_{k+1}, q = E|Q| along the flow.  The left-end sum looks at q where a step starts and
nowhere else.  q is almost 0 at sigma_max, so one leap from there over the region where the flow bends costs
nothing: a hole, far below the value at any list that samples well.  J_K pays for all the q it leaps over.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from art_rl.learning.algorithm1 import ThetaLearner
from art_rl.learning.evaluate import clock_objective, held_out_q
from art_rl.learning.table import TableEnvironment
from art_rl.settings.learners import PaperSettings

__all__ = ["STEPS", "Landscape", "landscape", "learning_path", "left_end_sum"]

STEPS = 3  # of the experiment
_GRID = 400  # log-spaced levels of the landscape


def left_end_sum(table: TableEnvironment, levels: NDArray[np.float64]) -> float:
    """The papers' left-end sum of (K + 1,) levels, on the held-out trajectories.

    In the units of `evaluate.clock_objective`, which is J_K; the two agree for many steps.
    """
    sigma = torch.as_tensor(np.ascontiguousarray(levels), dtype=torch.float64)
    q = table.lattice.evaluate(held_out_q(table).mean(0), sigma[:-1])
    return float((q * sigma.diff() ** 2).sum() * (len(levels) - 1) / table.lattice.sigma_max)


def learning_path(
    table: TableEnvironment, K: int, settings: PaperSettings, left_sum: bool
) -> NDArray[np.float64]:
    """(iterations + 1, K + 1) levels of the mean policy before and after every iteration."""
    learner = ThetaLearner(table, K, settings, left_sum)
    found = [learner.levels().numpy()]
    while not learner.done:
        learner.step()
        found.append(learner.levels().numpy())
    return np.stack(found)


@dataclass(frozen=True)
class Landscape:
    """Both costs of three-step lists against the first level they land on, the second being the best.

    Attributes:
        first: (n,) levels sigma_1, descending, data units.
        held, left: (n,) least J_K and least left-end sum over sigma_2.
    """

    first: NDArray[np.float64]
    held: NDArray[np.float64]
    left: NDArray[np.float64]


def landscape(table: TableEnvironment) -> Landscape:
    """Every list sigma_max > sigma_1 > sigma_2 > 0 of a log-spaced lattice of levels."""
    lattice = table.lattice
    T, mean_q = lattice.sigma_max, held_out_q(table).mean(0)
    # From 0.9 sigma_max: at sigma_max itself the first step has no length.
    s = np.geomspace(0.9 * T, lattice.sigma_min, _GRID)
    levels = torch.from_numpy(np.concatenate([[T], s, [0.0]]))
    integral = lattice.integral((mean_q[1:] + mean_q[:-1]) / 2)
    q = lattice.evaluate(mean_q, levels).numpy()
    c = lattice.evaluate(integral, levels).numpy()
    x = levels.numpy()

    def least(step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over sigma_2, from the (n + 2, n + 2) costs of a step from one level to another."""
        later = np.where(x[1:-1, None] > x[None, 1:-1], step[1:-1, 1:-1] + step[1:-1, -1], np.inf)
        return (STEPS / T) * (step[0, 1:-2] + later[:-1].min(1))

    h = x[:, None] - x[None, :]
    return Landscape(s[:-1], least(h * (c[:, None] - c[None, :])), least(q[:, None] * h**2))


def costs(table: TableEnvironment, levels: NDArray[np.float64]) -> tuple[float, float]:
    """(J_K, left-end sum) of a list."""
    return clock_objective(table, levels), left_end_sum(table, levels)
