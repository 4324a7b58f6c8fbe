"""What every learner of one budget shares: its actor, its exploration, and the policies to choose from."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from art_rl.learning.actors import ShareActor
from art_rl.learning.rewards import Reward

__all__ = ["PolicyLearner"]

SNAPSHOTS = 3


@dataclass(eq=False)
class PolicyLearner:
    """State of learning one budget; ``state``/``restore`` carry it through a state file.

    Args:
        actor: the actor, at its base density.
        iterations, draws, points: sizes: updates, N (even), P.
        seed: of exploration and of the choice of states.
        trial: number of the trial; decides the random draws together with the seed and K.
        least: the fewest states of an iteration, where their number grows.
    """

    # Exploration: standard deviation of the action, geometric from the first to the last value; for small
    # steps the relative noise of a step.
    NOISE: ClassVar[tuple[float, float]]
    # The averaged policy begins at this share of the iterations.
    AVERAGE_FROM: ClassVar[float]
    # Whether there may be several trials of one start, with other draws.
    REPEATS: ClassVar[bool] = False

    actor: ShareActor
    reward: Reward
    iterations: int
    draws: int
    points: int
    seed: int
    trial: int
    least: int

    def __post_init__(self) -> None:
        K = self.actor.K
        self.generator = torch.Generator().manual_seed((self.seed * 10_007 + K) * 101 + self.trial)
        self.start = self.actor.levels(None)
        self.coefficients = self.actor.start()
        self.total = self.actor.start()
        self.annealed = 0.0
        self.averaged = 0
        self.snapshots: list[Tensor] = []
        self.iteration = 0

    @staticmethod
    def points_at(iteration: int, iterations: int, points: int, least: int) -> int:
        """States of one iteration, at most ``points``; ``least``: see the class."""
        return points

    @staticmethod
    def runs(draws: int, decisions: int) -> int:
        """Runs of the solver per iteration and state."""
        raise NotImplementedError

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether all iterations are made."""
        return self.iteration >= self.iterations

    @property
    def candidates(self) -> dict[str, Tensor]:
        """Deterministic policies to choose from: name -> coefficients."""
        named = {"start": self.actor.start(), "average": self.total / max(self.averaged, 1)}
        for number, value in enumerate(self.snapshots, 1):
            named[f"snapshot_{number}"] = value
        return named

    def noise(self) -> float:
        """Exploration of the current iteration."""
        first, last = self.NOISE
        return first * (last / first) ** self.annealed

    def _record(self) -> None:
        """Count an iteration; keep the average and the snapshots."""
        if self.iteration >= int(self.AVERAGE_FROM * self.iterations):
            self.total = self.total + self.coefficients
            self.averaged += 1
        self.iteration += 1
        due = [-(-self.iterations * j // SNAPSHOTS) for j in range(1, SNAPSHOTS + 1)]
        if self.iteration in due:
            self.snapshots.append(self.coefficients)

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Tensors and numbers that `restore` continues from."""
        tensors = {
            "coefficients": self.coefficients,
            "total": self.total,
            "generator": self.generator.get_state(),
        }
        tensors |= {f"snapshot.{i}": value for i, value in enumerate(self.snapshots)}
        numbers = {
            "iteration": self.iteration,
            "averaged": self.averaged,
            "annealed": self.annealed,
            "snapshots": len(self.snapshots),
        }
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        self.coefficients, self.total = tensors["coefficients"], tensors["total"]
        self.annealed = numbers["annealed"]
        self.generator.set_state(tensors["generator"])
        self.iteration, self.averaged = int(numbers["iteration"]), int(numbers["averaged"])
        self.snapshots = [tensors[f"snapshot.{i}"] for i in range(int(numbers["snapshots"]))]
