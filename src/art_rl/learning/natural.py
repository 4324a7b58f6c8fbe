"""Natural actor-critic for a clock of K steps: any reward, any solver, any K.

Per iteration N clocks are drawn in +/- pairs of noise and judged on the same P states (common random
numbers: the mean reward over the draws is the baseline of those states).  With the credits A_k of
critics and eta_k = d log pi(y_k | s_k) / d c, the actor step is (29b) of 2607.02137 preconditioned
with the policy's own Fisher matrix (Kakade 2001; Peters & Schaal 2008):

    g = mean_draws sum_k eta_k A_k,    F = mean_draws sum_k (dmu/dc)(dmu/dc)' / noise^2
    c <- c + (F + damping I)^-1 g

F is exact for a Gaussian policy of fixed noise.  It makes the step independent of how the density is
parametrised and measures it in exploration spreads, so annealing the noise anneals the step.
"""

import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.learning.actors import ShareActor, score
from art_rl.learning.critics import RegressionCritic, credits, critic_features, rewards_to_go
from art_rl.learning.rewards import Reward

__all__ = ["NaturalLearner"]

# Exploration: standard deviation of the action, geometric from the first to the last value; for small
# steps the relative noise of a step.  The decay takes this share of the iterations, or longer.
NOISE_START, NOISE_END, ANNEAL_OVER = 0.3, 0.005, 0.6
# Trust region: largest move of the mean policy per iteration in exploration spreads (root of twice the KL).
LARGEST_STEP = 1.0
# And of the log density itself: where the mean hardly answers to it, the Fisher matrix sets no limit.
LARGEST_CHANGE = 2.0
DAMPING = 1e-3  # of the Fisher matrix, relative to its largest diagonal entry
CRITIC_MEMORY, CRITIC_RIDGE = 0.8, 0.01
CLIP = 3.0  # rewards and credits, in spreads
AVERAGE_FROM = 0.7  # the averaged policy begins at this share of the iterations
SNAPSHOTS = 3


class NaturalLearner:
    """State of learning one budget; ``state``/``restore`` carry it through a state file.

    Args:
        actor: the actor, at its base density.
        reward: what is learned on.
        iterations, draws, points: sizes: updates, N (even), P.
        seed: of exploration and of the choice of states.
        trial: number of the trial; decides the random draws together with the seed and K.
    """

    def __init__(
        self,
        actor: ShareActor,
        reward: Reward,
        iterations: int,
        draws: int,
        points: int,
        seed: int,
        trial: int,
    ) -> None:
        self.actor, self.reward, self.trial = actor, reward, trial
        self.iterations, self.draws, self.points = iterations, draws, points
        self.critic = RegressionCritic(actor.K - 1, CRITIC_MEMORY, CRITIC_RIDGE)
        self.generator = torch.Generator().manual_seed((seed * 10_007 + actor.K) * 101 + trial)
        self.start = actor.levels(None)
        self.coefficients = actor.start()
        self.total = actor.start()
        self.path = actor.start()
        self.annealed = 0.0
        self.averaged = 0
        self.snapshots: list[Tensor] = []
        self.iteration = 0

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
        return NOISE_START * (NOISE_END / NOISE_START) ** self.annealed

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics."""
        actor, noise = self.actor, self.noise()
        index = torch.randperm(self.reward.learning, generator=self.generator)[: self.points]
        half = torch.randn(
            self.draws // 2, actor.K - 1, dtype=torch.float64, generator=self.generator
        )
        episode = actor.rollout(self.coefficients, torch.cat([half, -half]), noise)
        policy = actor.levels(self.coefficients)
        outcome = self.reward.run(episode.sigmas, index, policy, self.start)

        total = outcome.rewards.sum(1)
        spread = total.std().clamp_min(1e-12)
        rewards = (outcome.rewards - outcome.rewards.mean(0)) / spread
        total = rewards.sum(1)
        rewards[:, -1] += total.clamp(-CLIP, CLIP) - total
        to_go = rewards_to_go(rewards)
        phi = critic_features(episode.u[:, : actor.K - 1], outcome.extras)
        values = self.critic.values(phi)
        credit = credits(values, rewards, self.reward.trace)
        credit = credit - credit.mean(0)
        limit = CLIP * credit.std(0).clamp_min(1.0)
        credit = credit.clamp(-limit, limit)
        unexplained = (to_go[:, -1] - values[:, -1]).square().mean()

        gradient = torch.einsum("nk,nkj->j", credit, score(episode, noise)) / self.draws
        slopes = given(episode.gradients, "gradients").reshape(-1, len(gradient))
        fisher = slopes.T @ slopes / (self.draws * noise**2)
        damping = DAMPING * fisher.diagonal().max().clamp_min(1e-300)
        natural = torch.linalg.solve(
            fisher + damping * torch.eye(len(gradient), dtype=torch.float64), gradient
        )
        length = float((natural @ fisher @ natural).clamp_min(0).sqrt())
        change = float(natural.abs().max())
        scale = min(1.0, LARGEST_STEP / max(length, 1e-12), LARGEST_CHANGE / max(change, 1e-12))
        self.coefficients = self.coefficients + scale * natural
        self._anneal(natural / noise, fisher)
        self.critic.fit(phi, to_go)
        self._record()
        return {
            "budget": actor.K,
            "trial": self.trial,
            "iteration": self.iteration,
            "noise": noise,
            "draws": float(outcome.merits.log().mean().exp()),
            "policy": outcome.policy,
            "start": outcome.start,
            "ratio": outcome.policy / outcome.start,
            "critic_error": float(unexplained / to_go[:, -1].square().mean().clamp_min(1e-12)),
            "gradient_norm": float(gradient.norm()),
            "natural_length": length,
            "step": scale * length,
        }

    def _anneal(self, move: Tensor, fisher: Tensor) -> None:
        """Advance the noise's decay, the less the more this move agrees with the moves before it."""
        norms = (move @ fisher @ move) * (self.path @ fisher @ self.path)
        agreement = float((move @ fisher @ self.path) / norms.clamp_min(1e-300).sqrt())
        steps = ANNEAL_OVER * self.iterations
        self.annealed = min(1.0, self.annealed + (1 - max(agreement, 0.0)) / steps)
        self.path = 0.5 * self.path + 0.5 * move

    def _record(self) -> None:
        if self.iteration >= int(AVERAGE_FROM * self.iterations):
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
            "path": self.path,
            "gram": self.critic.gram,
            "moment": self.critic.moment,
            "generator": self.generator.get_state(),
        }
        tensors |= {f"snapshot.{i}": value for i, value in enumerate(self.snapshots)}
        numbers = {
            "iteration": self.iteration,
            "averaged": self.averaged,
            "annealed": self.annealed,
            "critic_weight": self.critic.weight,
            "snapshots": len(self.snapshots),
        }
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        self.coefficients, self.total = tensors["coefficients"], tensors["total"]
        self.path, self.annealed = tensors["path"], numbers["annealed"]
        self.critic.gram, self.critic.moment = tensors["gram"], tensors["moment"]
        self.critic.weight = numbers["critic_weight"]
        self.generator.set_state(tensors["generator"])
        self.iteration, self.averaged = int(numbers["iteration"]), int(numbers["averaged"])
        self.snapshots = [tensors[f"snapshot.{i}"] for i in range(int(numbers["snapshots"]))]
