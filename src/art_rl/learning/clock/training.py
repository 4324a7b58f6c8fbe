"""A whole run of the fine clock: a job for `run.run`, its evaluation and its report."""

import os
from typing import Any

from torch import Tensor

from art_rl.denoisers.tensors import under
from art_rl.files import digest
from art_rl.learning.clock.exact import critic_error
from art_rl.learning.clock.learner import Learner
from art_rl.learning.clock.mean_policy import levels_from_speed, run_mean_policy
from art_rl.learning.clock.result import LearnerResult, theta_statistics
from art_rl.learning.evaluate import (
    GRID_STEPS,
    against_optimum,
    clock_objective,
    closed_form_objective,
    per_trajectory_bound,
)
from art_rl.learning.run import run
from art_rl.learning.table import TableEnvironment
from art_rl.schedules.clock import read_clock
from art_rl.settings.learners import LearnerConfig

__all__ = ["ClockRun", "train"]

# Clock on which a feedback actor, which knows every clock, is evaluated and distilled.
_FINE_STEPS = 512


class ClockRun:
    """Learning one fine clock; a job for `run.run`.

    Raises:
        ArtRLError: the table holds another cost than the settings ask for.
    """

    evaluations = 0  # everything is read from the table

    def __init__(self, table: TableEnvironment, config: LearnerConfig) -> None:
        self.table, self.config = table, config
        self.learner = Learner(table, config)
        self.checkpoint_every = config.checkpoint_every
        self.identity = digest({"settings": config.digest, "table": table.digest})
        self.closed_form = closed_form_objective(table)

    def step(self) -> dict[str, Any] | None:
        """One update and, every ``evaluate_every`` of them, the mean policy's objective; None at the end."""
        learner, config = self.learner, self.config
        if learner.iteration >= config.iterations:
            return None
        metrics = learner.update()
        metrics["objective"] = metrics["ratio"] = None
        done = learner.iteration
        if done % config.evaluate_every == 0 or done == config.iterations:
            metrics["objective"] = objective = self._evaluate(config.clock_steps)["objective"]
            metrics["ratio"] = objective / self.closed_form
        return metrics

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Networks, Adam's moments, the generator; the iteration and gamma."""
        learner = self.learner
        tensors = self._networks() | {"generator": learner.generator.get_state()}
        for name, optimizer in learner.optimizers.items():
            tensors |= {f"adam.{name}.{key}": value for key, value in optimizer.state().items()}
        numbers = {"iteration": learner.iteration, "gamma": learner.gamma}
        return tensors, {**numbers, "budget_error": learner.budget_error}

    def restore(self, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
        """Continue from `state`."""
        learner = self.learner
        for name, module in learner.modules.items():
            module.load_state_dict(under(tensors, f"{name}."))
        for name, optimizer in learner.optimizers.items():
            optimizer.restore(under(tensors, f"adam.{name}."))
        learner.generator.set_state(tensors["generator"])
        learner.iteration = int(head["iteration"])
        learner.gamma, learner.budget_error = head["gamma"], head["budget_error"]

    def _networks(self) -> dict[str, Tensor]:
        """Copies of all parameters, "actor." and "critic."."""
        return {
            f"{name}.{key}": value.detach().clone()
            for name, module in self.learner.modules.items()
            for key, value in module.state_dict().items()
        }

    def _evaluate(self, steps: int) -> dict[str, Any]:
        """The mean policy on ``steps`` clock steps: its own objective and that of its distilled list."""
        full = self.config.state == "full"
        rollout = run_mean_policy(self.learner.actor, self.table, steps, full)
        levels, raised = levels_from_speed(rollout.theta.mean(1).numpy(), self.learner.T)
        distilled = clock_objective(self.table, read_clock(levels, GRID_STEPS))
        own = full and self.config.form == "feedback"
        return {
            "rollout": rollout,
            "raised": raised,
            "distilled": distilled,
            "objective": rollout.objective if own else distilled,
        }

    def result(self) -> LearnerResult:
        """What has been learned, evaluated; report: docs/art_rl.md."""
        config, learner = self.config, self.learner
        steps = config.clock_steps
        found = self._evaluate(max(_FINE_STEPS, steps) if config.form == "feedback" else steps)
        rollout = found["rollout"]
        report = {
            "objective": found["objective"],
            "closed_form": self.closed_form,
            **against_optimum(found["objective"] / self.closed_form, config.criterion),
            "distilled_objective": found["distilled"],
            "policy_objective": rollout.objective,
            "distillation_cost": found["distilled"] / rollout.objective - 1,
            "per_trajectory_bound": per_trajectory_bound(self.table),
            "psi_end_error": float(rollout.sigma_end.abs().max()),
            "psi_end_error_mean": float(-rollout.sigma_end.mean()),
            "speeds_raised": found["raised"],
            "critic_error": self._critic_error(),
            "gamma": learner.gamma,
            "lambda": learner.lambda_,
            "iterations": learner.iteration,
            "clock_steps": steps,
            "held_out": len(rollout.sigma_end),
        }
        return LearnerResult(
            config,
            learner.T,
            theta_statistics(rollout.theta),
            self._networks(),
            report,
            self.table.model,
            self.table.model_digest,
        )

    def _critic_error(self) -> float | None:
        """Against the exact V of the time-only problem; None where that is not what the critic learns."""
        critic, config = self.learner.critic, self.config
        if critic is None or config.form != "feedback" or config.state != "time":
            return None
        return critic_error(critic, self.table)


def train(
    table: TableEnvironment,
    config: LearnerConfig,
    *,
    metrics_path: str | os.PathLike | None = None,
    state_path: str | os.PathLike | None = None,
    progress: bool = False,
) -> LearnerResult:
    """Learn a fine clock.

    Args:
        metrics_path, state_path, progress: see `run.run`; metrics: docs/art_rl_metrics.md.

    Returns:
        LearnerResult with its report.

    Raises:
        ArtRLError: settings do not fit the table, a damaged state file, or the learner diverged.
    """
    job = ClockRun(table, config)
    run(job, metrics_path=metrics_path, state_path=state_path, progress=progress)
    return job.result()
