"""ART-RL on the measured endpoint error: schedules for the actual solver at the actual budget.

    maximise over policies  E[ -log mean_x |x_K - x_ref(0)|^2 ]

with x_K what the solver makes of the K sampled levels and x_ref a fine solution from the same starting
state.  No surrogate and no asymptotics: valid at K = 2 with RK4.  Actor-critic with the feedback actor
of endpoint_actor, the environment of endpoint_environment, the critic of endpoint_critic and the
updates of endpoint_learner; endpoint_run takes one budget after the other.  Method, decisions and
metrics: docs/endpoint_reward.md.
"""

import os
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.checks import check_budget
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import check_solver
from art_rl.learning.endpoint_checkpoint import MetricsLog, load_checkpoint, save_checkpoint
from art_rl.learning.endpoint_config import EndpointConfig
from art_rl.learning.endpoint_result import EndpointResult, load_endpoint_result
from art_rl.learning.endpoint_run import EndpointRun, start_densities
from art_rl.schedules.hand_made import Density
from art_rl.schedules.schedule import check_sigma_range

__all__ = ["EndpointConfig", "EndpointResult", "load_endpoint_result", "train_endpoint"]


def train_endpoint(
    denoiser: Denoiser,
    x_train: Tensor,
    x_valid: Tensor,
    sigma_max: float,
    sigma_min: float,
    solver: str,
    budgets: Sequence[int],
    config: EndpointConfig,
    metrics_path: str | os.PathLike | None = None,
    checkpoint_path: str | os.PathLike | None = None,
    progress: bool = True,
    class_labels: tuple[Tensor, Tensor] | None = None,
    densities: Mapping[str, Density] | None = None,
) -> EndpointResult:
    """Learn one schedule per budget, smallest budget first.

    Args:
        denoiser: the model.
        x_train: (B, *shape) starting states at sigma_max the policy is improved on.
        x_valid: (V, *shape) others, on which the final policy is chosen among a few deterministic
            snapshots (neither may be the states of the final test).
        sigma_max, sigma_min: range in data units, 0 < sigma_min < sigma_max.
        solver: a key of SOLVERS.
        budgets: values of K, each >= 1; order and repetitions do not matter.
        config: settings.
        metrics_path: JSON lines, one per iteration; None: none.
        checkpoint_path: written every config.checkpoint_every iterations; an existing one of the same
            run is continued, with the same numbers as without the interruption.
        progress: show a progress bar.
        class_labels: None, or one-hot labels (B, label_dim) and (V, label_dim) of the two sets.
        densities: further node densities r(sigma) to try as start (e.g. of closed-form ART), by name.

    Returns:
        EndpointResult.

    Raises:
        ArtRLError: bad range, budget, solver, states or labels; no density to start from.
    """
    began = time.perf_counter()
    check_sigma_range(sigma_min, sigma_max)
    if not sigma_min > 0:
        raise ArtRLError(f"sigma_min must be positive, got {sigma_min}")
    check_solver(solver)
    if isinstance(budgets, str) or not isinstance(budgets, Sequence) or len(budgets) == 0:
        raise ArtRLError(f"budgets must be a non-empty list of numbers of steps, got {budgets!r}")
    budgets = sorted({check_budget(K) for K in budgets})
    _check_states(denoiser, x_train, "x_train")
    _check_states(denoiser, x_valid, "x_valid")
    labels = _check_labels(class_labels, x_train, x_valid)
    starts = start_densities(config.starts, denoiser.sigma_data, sigma_min) | dict(densities or {})
    if not starts:
        raise ArtRLError("starts is empty and no densities were given: nothing to start from")

    run = EndpointRun(
        denoiser, (x_train, x_valid), labels, (sigma_max, sigma_min), solver, config, starts
    )
    identity = run.identity(budgets)
    saved = load_checkpoint(checkpoint_path, identity)
    if saved is not None:
        run.restore(*saved)
    log = MetricsLog(metrics_path, run.lines)
    before = run.seconds

    def save() -> None:
        run.seconds = before + time.perf_counter() - began
        run.lines = log.lines
        save_checkpoint(checkpoint_path, *run.state(identity))

    todo = [K for K in budgets if K not in run.levels]
    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(
        total=len(todo), disable=not progress, desc=f"endpoint {solver}", bar_format=layout
    ) as bar:
        for K in todo:
            run.begin(K)
            while (learner := run.learner()) is not None:
                values = learner.step()
                run.seconds = before + time.perf_counter() - began
                values |= {"nfe_spent": run.nfe_spent, "seconds": round(run.seconds, 3)}
                log.write(values)
                bar.update(run.share_of_budget)
                bar.set_postfix(K=K, rmse=f"{values['rmse_draws']:.3g}", refresh=False)
                if learner.iteration % config.checkpoint_every == 0:
                    save()
            run.finish()
            save()
    return run.result()


def _check_states(denoiser: Denoiser, x: Tensor, name: str) -> None:
    if x.ndim < 1 or len(x) == 0 or tuple(x.shape[1:]) != tuple(denoiser.shape):
        raise ArtRLError(
            f"{name} must have shape (B, {', '.join(map(str, denoiser.shape))}) with B >= 1, "
            f"got {tuple(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise ArtRLError(f"{name} must be finite")


def _check_labels(class_labels, x_train, x_valid) -> tuple[Tensor | None, Tensor | None]:
    if class_labels is None:
        return None, None
    if not isinstance(class_labels, list | tuple) or len(class_labels) != 2:
        raise ArtRLError("class_labels must be a pair: labels of x_train, labels of x_valid")
    for labels, x, name in zip(
        class_labels, (x_train, x_valid), ("x_train", "x_valid"), strict=True
    ):
        if len(labels) != len(x):
            raise ArtRLError(f"class_labels of {name} must have {len(x)} rows, got {len(labels)}")
    return tuple(class_labels)
