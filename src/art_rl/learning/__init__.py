"""ART-RL: the control problem of 2601.18681 / 2607.02137 and its learners.

    table = TableEnvironment.from_denoiser(denoiser, x_start, sigma_max, sigma_min)

    learn_budgets(HeldCost(table, sigma_data), [5, 10])   natural actor-critic, K steps   (natural, budgets)
    learn_paper(table, [5, 10])                           Algorithm 1, K steps            (algorithm1)
    distill(train(table, LearnerConfig(seed=0)), K=10)    one fine clock for every K      (clock/)

docs/art_rl.md maps every equation to its function.
"""

from art_rl.learning.algorithm1 import learn_paper
from art_rl.learning.budgets import learn_budgets
from art_rl.learning.clock.result import LearnerResult, distill, load_result
from art_rl.learning.clock.training import train
from art_rl.learning.result import load_budgets
from art_rl.learning.rewards import EndpointError, HeldCost
from art_rl.learning.table import TableEnvironment
from art_rl.settings.learners import LearnerConfig

__all__ = [
    "EndpointError",
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
