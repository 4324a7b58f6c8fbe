"""ART-RL on the measured endpoint error: schedules for the actual solver at the actual budget.

    maximise over policies  E[ -log mean_x |x_K - x_ref(0)|^2 ]

with x_K what the solver makes of the K sampled levels and x_ref a fine solution from the same starting
state.  No surrogate and no asymptotics: valid at K = 2 with RK4.  Actor-critic with the feedback actor
of endpoint_actor, the environment of endpoint_environment, the critic of endpoint_critic and the
updates of endpoint_learner.  Method, decisions and metrics: docs/endpoint_reward.md.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.baselines import Density
from art_rl.control.endpoint_actor import EndpointActor
from art_rl.control.endpoint_checkpoint import MetricsLog, load_checkpoint, save_checkpoint
from art_rl.control.endpoint_config import EndpointConfig
from art_rl.control.endpoint_environment import EndpointEnvironment
from art_rl.control.endpoint_learner import EndpointLearner
from art_rl.control.endpoint_result import EndpointResult, load_endpoint_result
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.schedule import check_budget, check_sigma_range
from art_rl.solvers import check_solver

__all__ = ["EndpointConfig", "EndpointResult", "load_endpoint_result", "train_endpoint"]


def start_densities(
    names: Sequence[str], sigma_data: float, sigma_min: float
) -> dict[str, Density]:
    """Node densities an actor may start from; "edm" is rho = 7, made finite at 0 by sigma_min."""
    c = sigma_data
    known: dict[str, Density] = {
        "gaussian": lambda s: (s**2 + c**2) ** -0.75,
        "arctan": lambda s: 1 / (s**2 + c**2),
        "cosine": lambda s: 1 / (s**2 + 1),
        "edm": lambda s: (s + sigma_min) ** (1 / 7 - 1),
    }
    return {name: known[name] for name in names}


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

    run = _Run(denoiser, (x_train, x_valid), labels, (sigma_max, sigma_min), solver, config, starts)
    identity = run.identity(budgets)
    saved = load_checkpoint(checkpoint_path, identity)
    if saved is not None:
        run.restore(*saved)
    log = MetricsLog(metrics_path, run.lines)
    before = run.seconds
    todo = [K for K in budgets if K not in run.levels]
    bar = tqdm(total=config.iterations * len(todo), disable=not progress, desc=f"endpoint {solver}")
    with bar:
        for K in todo:
            learner = run.begin(K)
            bar.update(learner.iteration if learner else config.iterations)
            while learner and not learner.done:
                values = learner.step()
                run.seconds = before + time.perf_counter() - began
                values |= {"nfe_spent": run.nfe_spent, "seconds": round(run.seconds, 3)}
                log.write(values)
                bar.update()
                bar.set_postfix(K=K, rmse=f"{values['rmse_draws']:.3g}", refresh=False)
                if learner.iteration % config.checkpoint_every == 0 or learner.done:
                    run.lines = log.lines
                    save_checkpoint(checkpoint_path, *run.state(identity, learner))
            if learner:
                run.finish(learner)
            run.seconds = before + time.perf_counter() - began
            run.lines = log.lines
            save_checkpoint(checkpoint_path, *run.state(identity, None))
    return run.result()


class _Run:
    """All budgets of one run: environments, starts, finished budgets, counters."""

    def __init__(self, denoiser, states, labels, sigma_range, solver, config, starts) -> None:
        self.denoiser, self.solver, self.config, self.starts = denoiser, solver, config, starts
        self.sigma_max, self.sigma_min = sigma_range
        reference = {
            "steps": config.reference_steps,
            "solver": config.reference_solver,
            "sigma_min": config.reference_sigma_min or self.sigma_min,
            "check": 64,
        }
        self.train, self.valid = (
            EndpointEnvironment(
                denoiser, x, self.sigma_max, solver, labels[i], config.batch_rows, reference
            )
            for i, x in enumerate(states)
        )
        self.levels: dict[int, Tensor] = {}
        self.coefficients: dict[int, Tensor] = {}
        self.reports: dict[int, dict] = {}
        self.current: dict = {}
        self.pending: tuple[dict[str, Tensor], dict] | None = None
        self.seconds, self.lines = 0.0, 0

    @property
    def nfe_spent(self) -> int:
        return self.train.calls + self.valid.calls

    def identity(self, budgets: list[int]) -> str:
        """Digest of everything that decides the numbers."""
        probe = np.geomspace(self.sigma_min, self.sigma_max, 65)
        return digest(
            {
                "config": self.config.digest,
                "model": self.denoiser.digest,
                "solver": self.solver,
                "budgets": budgets,
                "range": [self.sigma_max, self.sigma_min],
                "starts": {name: list(map(float, f(probe))) for name, f in self.starts.items()},
                "states": [
                    hashlib.sha256(env.x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
                    for env in (self.train, self.valid)
                ],
            }
        )

    def density(self, start: str) -> Density:
        """The node density called ``start``: a given one, or "learned_K" of a finished budget."""
        if start in self.starts:
            return self.starts[start]
        K = int(start.removeprefix("learned_"))
        base, coefficients = self.density(self.reports[K]["start"]), self.coefficients[K].numpy()
        knots = np.linspace(0, np.log1p(self.sigma_max / self.sigma_min), len(coefficients))
        return lambda s: (
            base(s) * np.exp(np.interp(np.log1p(s / self.sigma_min), knots, coefficients))
        )

    def actor(self, K: int, start: str) -> EndpointActor:
        return EndpointActor(
            self.density(start), K, self.sigma_max, self.sigma_min, self.config.knots
        )

    def begin(self, K: int) -> EndpointLearner | None:
        """The learner of budget K, at its best start or where the checkpoint left it."""
        if K == 1:
            self._keep(K, torch.tensor([self.sigma_max, 0.0], dtype=torch.float64), None, {})
            return None
        if self.pending is not None and self.current["budget"] == K:
            learner = EndpointLearner(self.actor(K, self.current["start"]), self.train, self.config)
            learner.restore(*self.pending)
            self.pending = None
            return learner
        spent, seconds = self.nfe_spent, self.seconds
        names = list(self.starts)
        learned = [k for k in self.levels if 1 < k < K]
        if self.config.transfer and learned:
            names.append(f"learned_{max(learned)}")
        actors = [self.actor(K, name) for name in names]
        levels = torch.stack([actor.levels(actor.start()) for actor in actors])
        index = torch.arange(min(self.config.start_points, len(self.train.x)))
        errors = self.train.run(levels, index).errors.sqrt()
        best = int(errors.argmin())
        self.current = {
            "budget": K,
            "start": names[best],
            "start_errors": dict(zip(names, errors.tolist(), strict=True)),
            "spent": spent,
            "seconds": seconds,
        }
        return EndpointLearner(actors[best], self.train, self.config)

    def finish(self, learner: EndpointLearner) -> None:
        """Choose among the deterministic policies on the validation states."""
        candidates = learner.candidates
        levels = torch.stack([learner.actor.levels(c) for c in candidates.values()])
        errors = self.valid.run(levels, torch.arange(len(self.valid.x))).errors.sqrt()
        errors = dict(zip(candidates, errors.tolist(), strict=True))
        chosen = min(errors, key=errors.get)
        index = list(candidates).index(chosen)
        self._keep(learner.actor.K, levels[index], candidates[chosen], errors)

    def _keep(self, K, levels, coefficients, errors) -> None:
        chosen = min(errors, key=errors.get) if errors else None
        improved = bool(errors) and chosen != "start"
        current = self.current if errors else {"start": None, "start_errors": {}}
        self.levels[K] = levels
        if coefficients is not None:
            self.coefficients[K] = coefficients
        self.reports[K] = {
            "start": current["start"],
            "start_errors": current["start_errors"],
            "chosen": chosen,
            "validation_errors": errors,
            "rmse_start": errors.get("start"),
            "rmse_learned": errors.get(chosen),
            "improved": improved,
            "verdict": "improved" if improved else "not improved over its start",
            "nfe_spent": self.nfe_spent - current.get("spent", self.nfe_spent),
            "seconds": round(self.seconds - current.get("seconds", self.seconds), 3),
            "reference_error": self.train.reference.error,
        }

    def state(self, identity: str, learner: EndpointLearner | None) -> tuple[dict, dict]:
        """Checkpoint content."""
        tensors = {f"levels.{K}": value for K, value in self.levels.items()}
        tensors |= {f"coefficients.{K}": value for K, value in self.coefficients.items()}
        head = {
            "identity": identity,
            "reports": {str(K): report for K, report in self.reports.items()},
            "current": self.current,
            "calls": [self.train.calls, self.valid.calls],
            "seconds": self.seconds,
            "lines": self.lines,
            "learner": None,
        }
        if learner is not None:
            learning, head["learner"] = learner.state()
            tensors |= {f"learner.{name}": value for name, value in learning.items()}
        return tensors, head

    def restore(self, tensors: dict[str, Tensor], head: dict) -> None:
        """Continue from `state`; the reference solutions were computed again, bit for bit."""
        self.reports = {int(K): report for K, report in head["reports"].items()}
        self.levels = {K: tensors[f"levels.{K}"] for K in self.reports}
        self.coefficients = {
            K: tensors[f"coefficients.{K}"] for K in self.reports if f"coefficients.{K}" in tensors
        }
        self.current = head["current"]
        self.train.calls, self.valid.calls = head["calls"]
        self.seconds, self.lines = head["seconds"], head["lines"]
        if head["learner"] is not None:
            prefix = "learner."
            learning = {
                n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)
            }
            self.pending = (learning, head["learner"])

    def result(self) -> EndpointResult:
        report = {
            "budgets": {str(K): self.reports[K] for K in sorted(self.reports)},
            "reference_error": self.train.reference.error,
            "nfe_spent": self.nfe_spent,
            "seconds": round(self.seconds, 3),
        }
        return EndpointResult(
            self.config, self.solver, self.denoiser.digest, self.levels, self.coefficients, report
        )


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
