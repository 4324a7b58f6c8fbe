"""A whole run: iterate, log, checkpoint, then evaluate and report."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from art_rl.errors import ArtRLError
from art_rl.files import write_text
from art_rl.learning.checkpoint import load_checkpoint, networks, save_checkpoint
from art_rl.learning.config import LearnerConfig
from art_rl.learning.evaluate import (
    GRID_STEPS,
    clock_objective,
    closed_form_levels,
    closed_form_objective,
    levels_from_speed,
    per_trajectory_bound,
    run_mean_policy,
)
from art_rl.learning.exact import critic_error
from art_rl.learning.learner import Learner
from art_rl.learning.result import LearnerResult, theta_statistics
from art_rl.learning.table import Environment
from art_rl.schedules.clock import read_clock

# Clock on which a feedback actor, which knows every clock, is evaluated and distilled.
_FINE_STEPS = 512


def train(
    environment: Environment,
    config: LearnerConfig,
    *,
    metrics_path: str | os.PathLike | None = None,
    checkpoint_path: str | os.PathLike | None = None,
    progress: bool = False,
    stop_after: int | None = None,
) -> LearnerResult:
    """Learn a clock.

    Args:
        environment: TableEnvironment (mode "fine") or EulerEnvironment (mode "per_budget"); a table
            also works with "per_budget".
        config: settings.
        metrics_path: JSON lines, one per iteration (docs/art_rl_metrics.md).
        checkpoint_path: safetensors file; if it exists and belongs to the same settings and
            environment the run resumes from it, with the same result as an uninterrupted run.
        progress: show a progress bar.
        stop_after: stop at this iteration with a checkpoint and KeyboardInterrupt, as a kill would.

    Returns:
        LearnerResult with its report.

    Raises:
        ArtRLError: settings do not fit the environment, or the learner diverged.
    """
    if config.mode == "fine" and not environment.can_integrate:
        raise ArtRLError(
            "mode 'fine' learns on a TableEnvironment; use mode 'per_budget' for actual rollouts"
        )
    learner = Learner(environment, config)
    spent = 0.0
    if checkpoint_path is not None:
        spent = load_checkpoint(checkpoint_path, learner)
    lines = _Lines(metrics_path, learner.iteration)
    if metrics_path is not None and len(lines.lines) < learner.iteration:
        # The metrics are not all there (a folder half removed, a file lost): learn anew, and complete.
        learner, spent = Learner(environment, config), 0.0
        lines = _Lines(metrics_path, 0)
    began = time.perf_counter()
    reference = _reference(environment, config)
    bar = tqdm(
        total=config.iterations, initial=learner.iteration, desc="ART-RL", disable=not progress
    )
    while learner.iteration < config.iterations:
        metrics = learner.update()
        done = learner.iteration
        last = done == config.iterations
        metrics["objective"] = metrics["ratio"] = None
        if done % config.evaluate_every == 0 or last:
            objective = _objective(learner, config.steps)["objective"]
            metrics["objective"], metrics["ratio"] = objective, objective / reference
            bar.set_postfix_str(f"objective / closed form {objective / reference:.3f}")
        metrics["seconds"] = spent + time.perf_counter() - began
        lines.add(metrics)
        bar.update()
        if checkpoint_path is not None and (done % config.checkpoint_every == 0 or last):
            lines.flush()
            save_checkpoint(checkpoint_path, learner, metrics["seconds"])
        if stop_after is not None and done >= stop_after:
            raise KeyboardInterrupt
    bar.close()
    lines.flush()
    return _finish(learner, reference)


def _reference(environment: Environment, config: LearnerConfig) -> float:
    """The closed form's objective; with K steps, that of its own K-step list."""
    if config.mode == "fine":
        return closed_form_objective(environment.table)
    levels = closed_form_levels(environment.table, config.steps)
    return clock_objective(environment.table, levels)


def _objective(learner: Learner, steps: int) -> dict[str, Any]:
    """The mean policy on ``steps`` clock steps: its own objective and that of its distilled list."""
    environment, config = learner.environment, learner.config
    rollout = run_mean_policy(learner.actor, environment, steps, config.state == "full")
    levels, raised = levels_from_speed(rollout.theta.mean(1).numpy(), learner.T)
    grid = read_clock(levels, GRID_STEPS) if config.mode == "fine" else levels
    distilled = clock_objective(environment.table, grid)
    own = config.state == "full" and config.form == "feedback" and config.mode == "fine"
    return {
        "rollout": rollout,
        "raised": raised,
        "distilled": distilled,
        "objective": rollout.objective if own else distilled,
    }


def _finish(learner: Learner, reference: float) -> LearnerResult:
    environment, config = learner.environment, learner.config
    table = environment.table
    exact_end = config.mode == "fine" and config.form == "feedback"
    found = _objective(learner, max(_FINE_STEPS, config.steps) if exact_end else config.steps)
    rollout = found["rollout"]
    ratio = found["objective"] / reference
    converged = bool(ratio <= 1 + config.criterion)
    comparable = environment.can_integrate
    report = {
        "objective": found["objective"],
        "closed_form": reference,
        "ratio": ratio,
        "criterion": config.criterion,
        "converged": converged,
        "verdict": "converged" if converged else "not converged",
        "distilled_objective": found["distilled"],
        "policy_objective": rollout.objective if comparable else None,
        "policy_left_sum": None if comparable else rollout.objective,
        "distillation_cost": found["distilled"] / rollout.objective - 1 if comparable else None,
        "per_trajectory_bound": per_trajectory_bound(table),
        "closed_form_fine": closed_form_objective(table),
        "psi_end_error": float(rollout.sigma_end.abs().max()),
        "psi_end_error_mean": float(-rollout.sigma_end.mean()),
        "speeds_raised": found["raised"],
        "critic_error": _critic_error(learner),
        "gamma": learner.gamma,
        "lambda": learner.lambda_,
        "iterations": learner.iteration,
        "clock_steps": config.steps,
        "held_out": len(rollout.sigma_end),
    }
    return LearnerResult(
        config,
        learner.T,
        theta_statistics(rollout.theta),
        networks(learner),
        report,
        environment.model,
        environment.model_digest,
    )


def _critic_error(learner: Learner) -> float | None:
    """Against the exact V of the time-only problem; None where that is not what the critic learns."""
    config = learner.config
    if learner.critic is None or config.form != "feedback" or config.state != "time":
        return None
    return critic_error(learner.critic, learner.environment.table)


class _Lines:
    """JSON lines, written at checkpoints and at the end; lines after the resumed iteration drop."""

    def __init__(self, path: str | os.PathLike | None, iteration: int) -> None:
        self.path = None if path is None else Path(path)
        self.lines: list[str] = []
        if self.path is not None and self.path.exists() and iteration:
            for line in self.path.read_text(encoding="utf-8").splitlines()[:iteration]:
                self.lines.append(line)

    def add(self, metrics: dict[str, Any]) -> None:
        self.lines.append(json.dumps(metrics, allow_nan=False))

    def flush(self) -> None:
        if self.path is not None:
            write_text(self.path, "\n".join(self.lines) + "\n")
