"""ART-RL: the control problem of 2601.18681 / 2607.02137 and its actor-critic learner.

    table = TableEnvironment.from_denoiser(denoiser, x_start, sigma_max, sigma_min)
    result = train(table, LearnerConfig(seed=0))
    schedule = distill(result, K=10)

docs/art_rl.md maps every equation to its function.
"""

from art_rl.control.config import LearnerConfig
from art_rl.control.environment import TableEnvironment
from art_rl.control.euler import EulerEnvironment
from art_rl.control.result import LearnerResult, distill, load_result
from art_rl.control.training import train

__all__ = [
    "EulerEnvironment",
    "LearnerConfig",
    "LearnerResult",
    "TableEnvironment",
    "distill",
    "load_result",
    "train",
]
