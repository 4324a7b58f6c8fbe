"""Actor-critic updates for one budget: natural policy gradient on the measured endpoint error.

Per iteration N clocks are drawn in +/- pairs of noise and run from the same P starting states
(common random numbers: the mean reward over the draws is the baseline of those states).  With the
credits A_k of endpoint_critic and eta_k = d log pi(y_k | s_k) / d c, the actor step is (29b) of
2607.02137 preconditioned with the policy's own Fisher matrix (Kakade 2001; Peters & Schaal 2008):

    g = mean_draws sum_k eta_k A_k,    F = mean_draws sum_k (dmu/dc)(dmu/dc)' / noise^2
    c <- c + step (F + damping I)^-1 g

F is exact for a Gaussian policy of fixed noise.  It makes the step independent of how the density is
parametrised and measures it in exploration spreads, so annealing the noise anneals the step.
"""

import torch
from torch import Tensor

from art_rl.learning.endpoint_actor import EndpointActor, score
from art_rl.learning.endpoint_config import EndpointConfig
from art_rl.learning.endpoint_critic import EndpointCritic, credits, critic_features
from art_rl.learning.endpoint_environment import EndpointEnvironment


class EndpointLearner:
    """State of learning one budget; ``state``/``restore`` carry it through a checkpoint.

    Args:
        actor: the actor, at its base density.
        environment: training states.
        config: settings.
        iterations, points: sizes for this budget (config.evaluations may have reduced them).
        trial: number of the trial; decides the random draws together with config.seed and K.
    """

    def __init__(
        self,
        actor: EndpointActor,
        environment: EndpointEnvironment,
        config: EndpointConfig,
        iterations: int,
        points: int,
        trial: int,
    ) -> None:
        self.iterations, self.points, self.trial = iterations, points, trial
        self.actor, self.environment, self.config = actor, environment, config
        self.critic = EndpointCritic(actor.K - 1, config.critic_memory, config.critic_ridge)
        self.generator = torch.Generator().manual_seed(
            (config.seed * 10_007 + actor.K) * 101 + trial
        )
        self.coefficients = actor.start()
        self.total = actor.start()
        self.path = actor.start()
        self.annealed = 0.0
        self.averaged = 0
        self.snapshots: list[Tensor] = []
        self.iteration = 0

    @property
    def done(self) -> bool:
        return self.iteration >= self.iterations

    @property
    def candidates(self) -> dict[str, Tensor]:
        """Deterministic policies to choose from on validation states: name -> coefficients."""
        named = {"start": self.actor.start(), "average": self.total / max(self.averaged, 1)}
        for number, value in enumerate(self.snapshots, 1):
            named[f"snapshot_{number}"] = value
        return named

    def noise(self) -> float:
        """Exploration of the current iteration: geometric from noise_start to noise_end."""
        config = self.config
        return config.noise_start * (config.noise_end / config.noise_start) ** self.annealed

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics (docs/endpoint_reward.md)."""
        config, actor, environment = self.config, self.actor, self.environment
        noise = self.noise()
        index = torch.randperm(len(environment.x), generator=self.generator)[: self.points]
        half = torch.randn(
            config.draws // 2, actor.K - 1, dtype=torch.float64, generator=self.generator
        )
        along, policy_error = None, None
        features = config.ensemble_features and actor.K > 2
        if features:
            levels = actor.levels(self.coefficients)[None]
            outcome = environment.run(levels, index, keep_end=True)
            along, policy_error = outcome.end[0], float(outcome.errors[0])
        episode = actor.rollout(self.coefficients, torch.cat([half, -half]), noise)
        outcome = environment.run(episode.sigmas, index, along, features)

        spread = outcome.rewards.std()
        returns = (outcome.rewards - outcome.rewards.mean()) / spread.clamp_min(1e-12)
        returns = returns.clamp(-config.clip, config.clip)
        phi = critic_features(episode.u[:, : actor.K - 1], outcome.deviation, outcome.alignment)
        values = self.critic.values(phi)
        credit = credits(values, returns, config.trace)
        credit = (credit - credit.mean(0)).clamp(-config.clip, config.clip)
        residual = (returns - values[:, -1]).square().mean() / returns.square().mean().clamp_min(
            1e-12
        )

        gradient = torch.einsum("nk,nkj->j", credit, score(episode, noise)) / config.draws
        slopes = episode.gradients.reshape(-1, len(gradient))
        fisher = slopes.T @ slopes / (config.draws * noise**2)
        damping = config.damping * fisher.diagonal().max().clamp_min(1e-300)
        natural = torch.linalg.solve(
            fisher + damping * torch.eye(len(gradient), dtype=torch.float64), gradient
        )
        length = float((natural @ fisher @ natural).clamp_min(0).sqrt())
        scale = min(config.step_size, config.largest_step / max(length, 1e-12))
        self.coefficients = self.coefficients + scale * natural
        self._anneal(natural / noise, fisher)
        self.critic.fit(phi, returns)
        self._record()
        return {
            "budget": actor.K,
            "trial": self.trial,
            "iteration": self.iteration,
            "noise": noise,
            "reward": float(outcome.rewards.mean()),
            "reward_spread": float(spread),
            "rmse_draws": float(torch.exp(-outcome.rewards.mean() / 2)),
            "rmse_policy": None if policy_error is None else policy_error**0.5,
            "critic_error": float(residual),
            "gradient_norm": float(gradient.norm()),
            "natural_length": length,
            "step": scale * length,
        }

    def _anneal(self, move: Tensor, fisher: Tensor) -> None:
        """Advance the noise's decay, the less the more this move agrees with the moves before it."""
        norms = (move @ fisher @ move) * (self.path @ fisher @ self.path)
        agreement = float((move @ fisher @ self.path) / norms.clamp_min(1e-300).sqrt())
        steps = self.config.anneal_over * self.iterations
        self.annealed = min(1.0, self.annealed + (1 - max(agreement, 0.0)) / steps)
        self.path = 0.5 * self.path + 0.5 * move

    def _record(self) -> None:
        config = self.config
        if self.iteration >= int(config.average_from * self.iterations):
            self.total = self.total + self.coefficients
            self.averaged += 1
        self.iteration += 1
        due = [-(-self.iterations * j // config.snapshots) for j in range(1, config.snapshots + 1)]
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
