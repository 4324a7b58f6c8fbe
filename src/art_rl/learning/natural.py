"""Natural actor-critic for a clock of K steps and a running reward (`rewards.HeldCost`).

Per iteration N clocks are drawn in +/- pairs of noise and judged on the same P states (common random
numbers: the mean reward over the draws is the baseline of those states).  With the credits A_k of
critics and eta_k = d log pi(y_k | s_k) / d c, the actor step is (29b) of 2607.02137 preconditioned
with the policy's own Fisher matrix (Kakade 2001; Peters & Schaal 2008):

    g = mean_draws sum_k eta_k A_k,    F = mean_draws sum_k (dmu/dc)(dmu/dc)' / noise^2
    c <- c + (F + damping I)^-1 g

F is exact for a Gaussian policy of fixed noise.  It makes the step independent of how the density is
parametrised and measures it in exploration spreads, so annealing the noise anneals the step.  A reward that
is measured as a vector has a critic that knows more (`endpoint`).
"""

from typing import ClassVar

import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.learning.actors import score
from art_rl.learning.critics import RegressionCritic, credits, critic_features, rewards_to_go
from art_rl.learning.policy import PolicyLearner
from art_rl.learning.rewards import HeldCost

__all__ = ["NaturalLearner"]

ANNEAL_OVER = 0.6  # the decay of the exploration takes this share of the iterations, or longer
# Trust region: largest move of the mean policy per iteration in exploration spreads (root of twice the KL).
LARGEST_STEP = 1.0
# And of the log density itself: where the mean hardly answers to it, the Fisher matrix sets no limit.
LARGEST_CHANGE = 2.0
DAMPING = 1e-3  # of the Fisher matrix, relative to its largest diagonal entry
CRITIC_MEMORY, CRITIC_RIDGE = 0.8, 0.01
CLIP = 3.0  # rewards and credits, in spreads
# To first order a running reward only moves cost from one step to the next: a critic that lags behind
# the policy by a few iterations is a good baseline and too poor to bootstrap from (measured).
TRACE = 1.0


class NaturalLearner(PolicyLearner):
    """See the module's docstring; arguments of `policy.PolicyLearner`."""

    NOISE: ClassVar = (0.3, 0.005)
    AVERAGE_FROM: ClassVar = 0.7

    reward: HeldCost

    def __post_init__(self) -> None:
        super().__post_init__()
        self.critic = RegressionCritic(self.actor.K - 1, CRITIC_MEMORY, CRITIC_RIDGE)
        self.path = self.actor.start()

    @staticmethod
    def runs(draws: int, decisions: int) -> int:
        """Schedules judged per iteration: draws, mean policy, start."""
        return draws + 2

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics."""
        actor, noise = self.actor, self.noise()
        index = torch.randperm(self.reward.learning, generator=self.generator)[: self.points]
        half = torch.randn(
            self.draws // 2, actor.K - 1, dtype=torch.float64, generator=self.generator
        )
        # The last row is the mean policy.
        normals = torch.cat([half, -half, torch.zeros_like(half[:1])])
        drawn = actor.rollout(self.coefficients, normals, noise)
        episode, policy = drawn.first(self.draws), drawn.sigmas[-1]
        outcome = self.reward.run(episode.sigmas, index, policy, self.start)

        total = outcome.rewards.sum(1)
        spread = total.std().clamp_min(1e-12)
        rewards = (outcome.rewards - outcome.rewards.mean(0)) / spread
        total = rewards.sum(1)
        rewards[:, -1] += total.clamp(-CLIP, CLIP) - total
        to_go = rewards_to_go(rewards)
        phi = critic_features(episode.u[:, : actor.K - 1])
        values = self.critic.values(phi)
        credit = credits(values, rewards, TRACE)
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

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Tensors and numbers that `restore` continues from."""
        tensors, numbers = super().state()
        tensors |= {"path": self.path, "gram": self.critic.gram, "moment": self.critic.moment}
        return tensors, {**numbers, "critic_weight": self.critic.weight}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        super().restore(tensors, numbers)
        self.path = tensors["path"]
        self.critic.gram, self.critic.moment = tensors["gram"], tensors["moment"]
        self.critic.weight = numbers["critic_weight"]
