"""The papers' Algorithm 1 (2601.18681, 2607.02137) on a clock of K steps, as they write it.

    theta_k ~ N(mu_k(psi), lambda / |Q_k|),   psi_{k+1} = psi_k + theta_k dt,   dt = T / K            (11)
    r_k = -cost_k - gamma theta_k dt                                                                  (9)
    delta_k = J(k+1) - J(k) + r_k
    critic += a_c sum_k dJ(k)/dw delta_k                                                              (29a)
    actor  += a_a sum_k d log pi(theta_k) A_k                                                         (29b)
    gamma  += a_n (psi(T) - T)                                                                        (30)

The open actor has one parameter a_k per step and starts as the gaussian density's list of K steps:

    mu_k dt = (T - psi) (1 - kept_k exp(a_k)),  k < K - 1;      mu_{K-1} dt = (T - psi) exp(a_{K-1})

a step goes a share of what is left, wherever noise has put psi.  theta is never clamped; nothing but
gamma makes the last step end at T, and the mean lengths are normalised to sum to T when distilled.

Ours: the cost of a step is theta_k int |Q| dpsi along the trajectory, theta held (`schedules.steps`) -
the left-end sum |Q_k| theta_k^2 dt of Algorithm 1 has its optimum at a leap over the stiff region, where
|Q| is not looked at (`left_sum=True` keeps it).  J is a regression per step, the projection (29a) asks
for; A_k the rewards to go minus J; batches, with noise in +/- pairs on the same trajectory, and Adam
instead of one trajectory and plain steps; a proportional term beside (30).  |Q| is floored in the
variance by a share of its mean at the level.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.tensors import under
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.learning.adam import Adam
from art_rl.learning.evaluate import judge_steps
from art_rl.learning.result import BudgetsJob, BudgetsResult
from art_rl.learning.run import run
from art_rl.learning.table import TableEnvironment, TableRollout
from art_rl.schedules.hand_made import grid_from_density
from art_rl.settings.learners import PaperSettings

__all__ = ["PaperRun", "ThetaLearner", "learn_paper"]

ACTOR_RATE = 0.02  # Adam's first step, cosine decay to 1 %
GAMMA_RATE, GAMMA_PROPORTIONAL = 0.12, 1.0  # of |gamma_0| per last step's length of error in psi(T)
Q_FLOOR = 0.1  # of the mean |Q| at the level, in the variance
_LARGEST_GRADIENT = 10.0
CRITERION = 0.03  # of "converged": J_K over the K-step optimum


class ThetaLearner:
    """Algorithm 1 for one budget.

    Args:
        table: trajectories of the flow.
        K: steps, >= 2.
        settings: sizes, noise, seed.
        left_sum: the papers' left-end sum as cost, instead of theta held over the step.
    """

    def __init__(
        self, table: TableEnvironment, K: int, settings: PaperSettings, left_sum: bool = False
    ) -> None:
        self.table, self.K, self.settings, self.left_sum = table, K, settings, left_sum
        lattice = table.lattice
        self.T, self.dt = lattice.sigma_max, lattice.sigma_max / K
        base = grid_from_density(lambda s: (s**2 + 0.25) ** -0.75, K, self.T)
        levels = torch.from_numpy(base)
        lengths = -levels.diff()
        # Step k < K - 1 leaves this share of T - psi, the last one takes (1 + its excess) of it.
        self.base = levels[1:-1] / levels[:-2]
        self.logs = torch.zeros(K, dtype=torch.float64)
        self.adam = Adam([self.logs])
        integral = lattice.integral((table.mean_q[1:] + table.mean_q[:-1]) / 2)
        spent = -lattice.evaluate(integral, levels).diff()
        theta = lengths / self.dt
        # lambda: no step's noise is more than settings.noise of its speed, or of the level it lands on.
        at = lattice.evaluate(table.mean_q, levels[:-1])
        reach = torch.minimum(lengths, torch.cat([levels[1:-1], lengths[-1:]]))
        self.lambda_ = settings.noise**2 * float((at * (reach / self.dt) ** 2).min())
        # The last step's marginal cost: what one more unit of psi is worth to it.
        self.gamma = -float(spent[-1] / self.dt + theta[-1] * table.mean_q[0])
        self.gamma_scale, self.last_length = abs(self.gamma), float(lengths[-1])
        self.budget_error = 0.0
        self.generator = torch.Generator().manual_seed(settings.seed * 10_007 + K)
        self.iteration = 0

    @property
    def done(self) -> bool:
        """Whether all iterations are made."""
        return self.iteration >= self.settings.iterations

    def levels(self) -> Tensor:
        """(K + 1,) of the mean policy, lengths normalised to sum to T."""
        shares = self.shares()
        left, lengths = torch.tensor(self.T, dtype=torch.float64), []
        for share in shares:
            lengths.append(left * share)
            left = left * (1 - share)
        to_go = torch.stack(lengths).flip(0).cumsum(0).flip(0)
        levels = torch.cat([to_go / to_go[0] * self.T, torch.zeros(1, dtype=torch.float64)])
        levels[0] = self.T
        return levels

    def shares(self) -> Tensor:
        """(K,) mean share of T - psi that each step takes."""
        kept = self.base * self.logs[:-1].exp()
        return torch.cat([1 - kept, self.logs[-1:].exp()])

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics."""
        settings, K = self.settings, self.K
        gamma = self.gamma + GAMMA_PROPORTIONAL * self.gamma_scale * self.budget_error
        # Noise in +/- pairs on the same trajectory, which takes its own cost out of the estimate.
        rollout = self.table.start(settings.batch // 2, self.generator, copies=2)
        half = torch.randn(settings.batch // 2, K, dtype=torch.float64, generator=self.generator)
        noise = torch.cat([half, -half]).T.contiguous().numpy()
        sigma, spread, moved, cost = self._roll_out(rollout, noise)
        to_go = np.cumsum((-cost - gamma * moved)[::-1], 0)[::-1]
        advantage = to_go - _regression(sigma, to_go)
        weight = advantage / np.maximum(advantage.std(1, ddof=1, keepdims=True), 1e-300)
        # d log pi / d share = (moved - sigma share) sigma / spread^2, and the noise is what was drawn.
        gradient = (weight * noise * sigma / spread).mean(1) / K
        shares = self.shares().numpy()
        gradient *= np.append(shares[:-1] - 1, shares[-1])  # d share / d logs
        size = float(np.sqrt((gradient**2).sum()))
        gradient *= min(1.0, _LARGEST_GRADIENT / (size + 1e-6))
        self.logs.grad = torch.from_numpy(-gradient)
        decay = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.iteration / settings.iterations))
        self.adam.step(ACTOR_RATE * decay)
        error = float(-rollout.sigma.mean())
        self.budget_error = error / self.last_length
        self.gamma += GAMMA_RATE * decay * self.gamma_scale * self.budget_error
        self.iteration += 1
        metrics = {
            "budget": K,
            "iteration": self.iteration,
            "surrogate": float(cost.sum(0).mean()),
            "psi_error": error,
            "psi_error_spread": float(rollout.sigma.std()),
            "gamma": gamma,
            "actor_gradient": size,
        }
        if not all(math.isfinite(value) for value in metrics.values()):
            raise ArtRLError(
                f"Algorithm 1 diverged at K = {K}, iteration {self.iteration} (a metric is not finite); "
                f"lower noise, got {settings.noise}"
            )
        return metrics

    def _roll_out(self, rollout: TableRollout, noise: np.ndarray) -> tuple[np.ndarray, ...]:
        """(K, B) levels before the steps, standard deviations, distances and costs of K noisy steps.

        In numpy, on the tensors' memory (see `learning.lattice`).
        """
        shares, dt = self.shares().numpy(), self.dt
        columns: tuple[list[np.ndarray], ...] = ([], [], [], [])
        integral, q, mean_q = rollout.read()
        for k in range(self.K):
            sigma = rollout.sigma.numpy()
            std = np.sqrt(self.lambda_ / np.maximum(q, Q_FLOOR * mean_q)) * dt
            distance = sigma * shares[k] + std * noise[k]
            before, left = q, integral
            rollout.advance(torch.from_numpy(distance))
            integral, q, mean_q = rollout.read()
            if self.left_sum:
                spent = before * distance**2 / dt
            else:
                spent = distance / dt * (left - integral)
            for column, value in zip(columns, (sigma, std, distance, spent), strict=True):
                column.append(value)
        sigma, spread, moved, cost = map(np.stack, columns)
        return sigma, spread, moved, cost

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Tensors and numbers that `restore` continues from."""
        tensors = {"logs": self.logs, "generator": self.generator.get_state()}
        tensors |= {f"adam.{name}": value for name, value in self.adam.state().items()}
        numbers = {
            "budget": self.K,
            "iteration": self.iteration,
            "gamma": self.gamma,
            "budget_error": self.budget_error,
        }
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        self.logs.copy_(tensors["logs"])
        self.adam.restore(under(tensors, "adam."))
        self.generator.set_state(tensors["generator"])
        self.iteration = int(numbers["iteration"])
        self.gamma, self.budget_error = numbers["gamma"], numbers["budget_error"]


def _regression(sigma: np.ndarray, to_go: np.ndarray) -> np.ndarray:
    """J at every step, (K, B): fitted values of the rewards to go on (1, z, z^2), z the standardised level.

    By orthogonal polynomials, so that each coefficient is a quotient of two means.
    """
    smallest = 1e-12 * sigma.max()
    z = sigma - sigma.mean(1, keepdims=True)
    z /= np.maximum(z.std(1, ddof=1, keepdims=True), smallest)
    fitted = to_go.mean(1, keepdims=True)
    square = z**2
    for power in (z, square - square.mean(1, keepdims=True) - _slope(square, z) * z):
        fitted = fitted + _slope(to_go, power) * power
    return fitted


def _slope(values: np.ndarray, regressor: np.ndarray) -> np.ndarray:
    """(K, 1) least-squares coefficient of ``values`` on one regressor; at step 0 all levels agree: 0."""
    size = np.einsum("kb,kb->k", regressor, regressor) / regressor.shape[1] + 1e-9
    return (np.einsum("kb,kb->k", values, regressor) / regressor.shape[1] / size)[:, None]


class PaperRun(BudgetsJob):
    """Algorithm 1 over all budgets of a table; a job for `run.run`.

    Args:
        table: trajectories of the flow.
        budgets: values of K, each >= 1.
        settings: sizes, noise and seed.
        left_sum: see ThetaLearner.
    """

    def __init__(
        self,
        table: TableEnvironment,
        budgets: Sequence[int],
        settings: PaperSettings,
        left_sum: bool = False,
    ) -> None:
        super().__init__(budgets, settings)
        self.table, self.left_sum = table, left_sum
        self.identity = digest(
            {
                "settings": settings.model_dump(exclude={"checkpoint_every"}),
                "budgets": self.budgets,
                "left_sum": left_sum,
                "table": table.digest,
            }
        )
        self.learner: ThetaLearner | None = None

    def step(self) -> dict[str, float] | None:
        """One iteration of the budget in progress; None when all are learned."""
        for K in self.budgets:
            if K in self.levels:
                continue
            if K == 1:
                self.levels[K] = torch.tensor([self.table.lattice.sigma_max, 0.0]).double()
                self.reports[K] = judge_steps(self.table, self.levels[K].numpy(), CRITERION)
                continue
            if self.learner is None:
                self.learner = ThetaLearner(self.table, K, self.settings, self.left_sum)
            metrics = self.learner.step()
            if self.learner.done:
                self.levels[K] = self.learner.levels()
                self.coefficients[K] = self.learner.shares()
                self.reports[K] = {
                    **judge_steps(self.table, self.levels[K].numpy(), CRITERION),
                    "iterations": self.learner.iteration,
                    "psi_error": metrics["psi_error"],
                    "gamma": self.learner.gamma,
                    "lambda": self.learner.lambda_,
                    "evaluations": 0,
                }
                self.learner = None
            return metrics
        return None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON-like head that `restore` continues from."""
        tensors, head = super().state()
        if self.learner is not None:
            learning, head["learner"] = self.learner.state()
            tensors |= {f"learner.{name}": value for name, value in learning.items()}
        return tensors, head

    def restore(self, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
        """Continue from `state`."""
        super().restore(tensors, head)
        if "learner" in head:
            K = int(head["learner"]["budget"])
            self.learner = ThetaLearner(self.table, K, self.settings, self.left_sum)
            self.learner.restore(under(tensors, "learner."), head["learner"])


def learn_paper(
    table: TableEnvironment,
    budgets: Sequence[int],
    settings: PaperSettings | None = None,
    *,
    left_sum: bool = False,
    metrics_path: str | os.PathLike | None = None,
    state_path: str | os.PathLike | None = None,
    progress: bool = False,
) -> BudgetsResult:
    """Algorithm 1 at every budget, from a table of trajectories alone.

    Args:
        table: see `table.TableEnvironment`.
        budgets: values of K, each >= 1; order and repetitions do not matter.
        settings: sizes, noise and seed.
        left_sum: the papers' left-end sum as cost (see the module's docstring).
        metrics_path, state_path, progress: see `run.run`.

    Raises:
        ArtRLError: bad budgets, a damaged state file, or divergence.
    """
    job = PaperRun(table, budgets, settings or PaperSettings(), left_sum)
    run(job, metrics_path=metrics_path, state_path=state_path, progress=progress)
    return job.found("art_rl_paper", "any", table.model, table.model_digest)
