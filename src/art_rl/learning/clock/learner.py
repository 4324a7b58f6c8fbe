"""Algorithm 1 of 2601.18681 / 2607.02137: roll out, fit the critic, improve the actor, move gamma.

    theta_k ~ N(mu(t_k, x_k, psi_k), lambda / |Q_k|),   psi_(k+1) = psi_k + theta_k dt
    delta_k = J(k+1) - J(k) + r_k
    critic += a_c sum_k dJ(k) A_k                                     (29a)
    actor  += a_a sum_k d log pi(theta_k) A_k                         (29b)
    gamma  += a_n (psi(T) - T)                                        (30), paper's form only

with A_k = delta_k for trace = 0.  Ours: batches of trajectories instead of one, Adam in place of plain
steps, advantages divided by their spread per step, lambda decaying during the run.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.errors import ArtRLError
from art_rl.learning.adam import Adam
from art_rl.learning.clock.actor import (
    Actor,
    FeedbackActor,
    OptimalActor,
    PaperActor,
    log_prob,
    policy_std,
)
from art_rl.learning.clock.critic import (
    Critic,
    NetworkCritic,
    ShapedCritic,
    least_squares_values,
    td_errors,
    traced,
)
from art_rl.learning.clock.networks import base_density
from art_rl.learning.lattice import Place
from art_rl.learning.table import Observation, TableEnvironment
from art_rl.settings.learners import LearnerConfig

# Adam's first steps; cosine decay to 1 %.
ACTOR_RATE, CRITIC_RATE = 0.01, 0.02
# a_n of (30) in units of |gamma_0| per relative budget error, and a proportional term on it (ours).
GAMMA_RATE, GAMMA_PROPORTIONAL = 0.1, 1.0
_LARGEST_GRADIENT = 10.0


def base_cost_rate(table: TableEnvironment, base: str) -> float:
    """int mean|Q| theta dsigma / T of the base clock: scale of J, gamma and lambda."""
    lattice = table.lattice
    density = base_density(base, lattice.middles, lattice.sigma_min)
    q = (table.mean_q[1:] + table.mean_q[:-1]) / 2
    total = (density * lattice.widths).sum()
    return float((q / density * lattice.widths).sum() * total) / lattice.sigma_max**2


class Learner:
    """State of a run and one update of it.

    Args:
        config: settings.

    Raises:
        ArtRLError: the table holds another cost than the settings ask for.
    """

    def __init__(self, table: TableEnvironment, config: LearnerConfig) -> None:
        if table.cost != config.cost:
            raise ArtRLError(
                f"cost is {config.cost!r} but the table was made with cost={table.cost!r}; "
                "make it anew"
            )
        self.table, self.config = table, config
        self.generator = torch.Generator().manual_seed(config.seed)
        self.T = table.lattice.sigma_max
        self.steps, self.dt = config.clock_steps, table.lattice.sigma_max / config.clock_steps
        self.rate = base_cost_rate(table, config.base)
        feedback = config.form == "feedback"
        kind = config.critic
        critics: dict[str, type[Critic]] = {"shaped": ShapedCritic, "network": NetworkCritic}
        self.critic: Critic | None = (
            None
            if kind == "least_squares"
            else critics[kind](table, config, self.rate, self.generator)
        )
        if config.mean == "optimal":
            critic = given(self.critic, "a critic of mean 'optimal'")
            self.actor: Actor = OptimalActor(table, config, critic)
        elif config.form == "feedback":
            self.actor = FeedbackActor(table, config, self.generator)
        else:
            self.actor = PaperActor(table, config, self.generator)
        # Speed at the data end on an equidistributed clock; sets the scales of gamma and its error.
        end_q = float(table.mean_q[0])
        self.end_speed = math.sqrt(self.rate / end_q)
        self.gamma = 0.0 if feedback else -2 * end_q * self.end_speed
        self.gamma_scale = 2 * end_q * self.end_speed
        self.budget_error = 0.0
        modules = {"actor": self.actor, "critic": self.critic}
        self.modules = {name: module for name, module in modules.items() if module is not None}
        self.optimizers = {
            name: Adam(module.parameters())
            for name, module in self.modules.items()
            if any(True for _ in module.parameters())
        }
        self.iteration = 0

    @property
    def lambda_(self) -> float:
        """Temperature of the current iteration."""
        if self.config.lambda_ is not None:
            return self.config.lambda_
        done = self.iteration / max(self.config.iterations - 1, 1)
        first, last = self.config.noise, self.config.noise_final
        if last is None:
            last = first / 3 if self.config.form == "feedback" else first
        return (first * (last / first) ** done) ** 2 * self.rate

    @property
    def effective_gamma(self) -> float:
        """gamma with the proportional term (ours)."""
        extra = GAMMA_PROPORTIONAL * self.gamma_scale * self.budget_error
        return self.gamma + extra

    def std(self, observation: Observation) -> Tensor:
        """Standard deviation of the policy."""
        return policy_std(observation.q, given(observation.mean_q, "mean_q"), self.lambda_)

    def roll_out(self) -> tuple[Observation, Tensor, Tensor, Tensor, Tensor]:
        """One batch under the sampled policy.

        Returns:
            observations stacked to (n, B, ...), theta (n, B), standard deviation of the steps that are
            drawn (n or n - 1, B), cost (n, B), sigma at T (B,).
        """
        config, steps, full = self.config, self.steps, self.config.state == "full"
        rollout = self.table.start(config.batch, self.generator)
        seen: list[Observation] = []
        thetas: list[Tensor] = []
        stds: list[Tensor] = []
        drawn = steps - 1 if self.actor.lands else steps
        shape = (drawn, config.batch)
        noise = torch.randn(shape, dtype=torch.float64, generator=self.generator)
        # What is not finite is found below, in one line.
        with torch.no_grad(), np.errstate(all="ignore"):
            prepared = self.actor.prepare()
            for k in range(steps):
                now = rollout.observe(full, full and config.mean == "optimal")
                theta = self.actor.mean(prepared, k, steps, now)
                if k < drawn:
                    stds.append(self.std(now))
                    theta = theta + stds[k] * noise[k]
                rollout.advance(theta * self.dt)
                if not np.isfinite(rollout.sigma.numpy()).all():
                    raise self._diverged("a level")
                seen.append(now)
                thetas.append(theta)
            end = rollout.observe(False)
        theta = torch.stack(thetas)
        stacked = stack(seen)
        last = given(end.integral, "integral")
        integral = torch.cat([given(stacked.integral, "integral"), last[None]])
        cost = theta * (integral[:-1] - integral[1:])
        return stacked, theta, torch.stack(stds), cost, rollout.sigma

    def update(self) -> dict[str, Any]:
        """One iteration of Algorithm 1; returns its metrics (docs/art_rl_metrics.md)."""
        config, steps = self.config, self.steps
        lambda_, gamma = self.lambda_, self.effective_gamma
        for module in self.modules.values():
            module.gamma = gamma
        seen, theta, std, cost, sigma_end = self.roll_out()
        rewards = -cost - gamma * theta * self.dt
        index = torch.arange(steps, dtype=torch.float64)[:, None]
        terminal = torch.full_like(sigma_end, lambda_ * self.T)
        if self.critic is None:
            returns = traced(rewards, 1.0) + terminal
            values = least_squares_values(seen, returns, config.state == "full")
        else:
            values = self.critic.total(index, steps, seen, lambda_)
        deltas = td_errors(values.detach(), terminal, rewards)
        advantages = traced(deltas, config.trace_used)
        scale = self.rate * self.T
        metrics: dict[str, Any] = {
            "iteration": self.iteration,
            "surrogate": float(cost.sum(0).mean()),
            "psi_error": float(-sigma_end.mean()),
            "psi_error_spread": float(sigma_end.std()),
            "gamma": gamma,
            "lambda": lambda_,
            "critic_error": float(advantages.square().mean().sqrt()) / scale,
            "td_error": float(deltas.square().mean().sqrt()) / scale,
        }
        if self.critic is not None:
            loss = -(values * advantages).sum(0).mean() / scale**2
            metrics["critic_gradient"] = self._descend("critic", loss, CRITIC_RATE)
        if "actor" in self.optimizers:
            centred = advantages - advantages.mean(1, keepdim=True)
            weight = centred / (advantages.std(1, keepdim=True) + 1e-12 * scale)
            mean = self.actor.mean(self.actor.prepare(), index, steps, seen)
            drawn = len(std)
            scores, weight = log_prob(theta[:drawn], mean[:drawn], std), weight[:drawn]
            metrics["actor_gradient"] = self._descend(
                "actor", -(weight * scores).mean(), ACTOR_RATE
            )
        if config.form == "paper":
            self.budget_error = float(-sigma_end.mean()) / (self.end_speed * self.T)
            rate = GAMMA_RATE * self._decay()
            self.gamma += rate * self.gamma_scale * self.budget_error
        if not all(math.isfinite(v) for v in metrics.values()):
            raise self._diverged("a metric")
        self.iteration += 1
        return metrics

    def _diverged(self, what: str) -> ArtRLError:
        return ArtRLError(
            f"the learner diverged at iteration {self.iteration} ({what} is not finite); "
            "lower noise or lambda_"
        )

    def _decay(self) -> float:
        """Cosine decay of all step sizes to 1 %."""
        done = self.iteration / self.config.iterations
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

    def _descend(self, name: str, loss: Tensor, rate: float) -> float:
        """One Adam step on a module; returns the gradient norm before clipping."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_(optimizer.parameters, _LARGEST_GRADIENT)
        optimizer.step(self._decay() * rate)
        return float(size)


def stack(observations: list[Observation]) -> Observation:
    """n observations of B trajectories as one of shape (n, B, ...)."""
    columns: dict[str, Any] = {}
    for name in ("sigma", "q", "features", "slope", "integral", "mean_q"):
        values = [getattr(observation, name) for observation in observations]
        columns[name] = None if values[0] is None else torch.stack(values)
    places = [observation.place for observation in observations]
    if places[0] is not None:
        columns["place"] = Place(*map(torch.stack, zip(*places, strict=True)))
    return Observation(**columns)
