"""ART-RL: the control problem of 2601.18681 / 2607.02137 and its actor-critic learner.

    table = TableEnvironment.from_denoiser(denoiser, x_start, sigma_max, sigma_min)
    result = train(table, LearnerConfig(seed=0))
    schedule = distill(result, K=10)

docs/art_rl.md maps every equation to its function.
"""

from art_rl.learning.algorithm1 import learn_paper
from art_rl.learning.budgets import learn_budgets
from art_rl.learning.config import LearnerConfig
from art_rl.learning.euler import EulerEnvironment
from art_rl.learning.result import LearnerResult, distill, load_budgets, load_result
from art_rl.learning.rewards import EndpointError, HeldCost
from art_rl.learning.table import TableEnvironment
from art_rl.learning.training import train

__all__ = [
    "EndpointError",
    "EulerEnvironment",
    "HeldCost",
    "LearnerConfig",
    "LearnerResult",
    "TableEnvironment",
    "distill",
    "learn_budgets",
    "learn_paper",
    "load_budgets",
    "load_result",
    "train",
]
