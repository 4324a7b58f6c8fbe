"""The result of a run: learned networks, the mean clock with its band, and the report.

Saved as two files, <stem>.safetensors (tensors, identical for identical runs) and <stem>.json (settings,
report, digest of the tensors).  Distillation turns the clock into a Schedule of any K.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.learning.config import LearnerConfig
from art_rl.learning.evaluate import levels_from_speed
from art_rl.learning.storage import read_result, write_result
from art_rl.records import versions
from art_rl.schedules.clock import read_clock
from art_rl.schedules.schedule import Schedule

FORMAT = "art_rl.control.result"
BUDGETS_FORMAT = "art_rl.learning.budgets"


@dataclass
class LearnerResult:
    """What a run leaves behind.

    Attributes:
        config: its settings.
        sigma_max: T, data units.
        theta: (n, 4) float64: mean, 0.5 %, 99.5 % quantile and smallest speed per step of the mean
            policy over the held-out trajectories.
        networks: "actor." and "critic." parameters.
        report: JSON-like; docs/art_rl.md explains every key.
        model, model_digest: provenance.
    """

    config: LearnerConfig
    sigma_max: float
    theta: Tensor
    networks: dict[str, Tensor]
    report: dict[str, Any]
    model: str
    model_digest: str

    @property
    def levels(self) -> np.ndarray:
        """The distilled clock: n + 1 levels, descending, ends exact."""
        return levels_from_speed(self.theta[:, 0].numpy(), self.sigma_max)[0]

    def theta_band(self) -> dict[str, np.ndarray]:
        """Clock times t (left ends of the steps), mean speed, and its 99 % band low, high; each (n,)."""
        n = len(self.theta)
        t = np.arange(n) * (self.sigma_max / n)
        mean, low, high = (self.theta[:, j].numpy().copy() for j in range(3))
        return {"t": t, "mean": mean, "low": low, "high": high}

    def save(self, path: str | os.PathLike) -> None:
        """Write <path>.safetensors and <path>.json (any suffix of ``path`` is replaced)."""
        meta = {
            "format": FORMAT,
            "sigma_max": self.sigma_max,
            "model": self.model,
            "model_digest": self.model_digest,
            "config": self.config.to_dict(),
        }
        write_result(path, {"theta": self.theta, **self.networks}, meta, self.report)


def load_result(path: str | os.PathLike) -> LearnerResult:
    """Read a result by the path it was saved under (or either of its two files).

    Raises:
        ArtRLError: a file is missing, damaged, or the two do not belong together.
    """
    tensors, meta, report = read_result(path, FORMAT)
    theta = tensors.pop("theta")
    return LearnerResult(
        LearnerConfig.from_dict(meta["config"]),
        meta["sigma_max"],
        theta,
        tensors,
        report,
        meta["model"],
        meta["model_digest"],
    )


def distill(result: LearnerResult, K: int) -> Schedule:
    """The learned clock as K + 1 levels (2607.02137: mean of theta over trajectories, normalised).

    The learner's clock is read at K + 1 equidistant times (its own K: unchanged).  Ends are exact.

    Raises:
        ArtRLError: bad K, or levels that do not decrease.
    """
    levels = read_clock(result.levels, check_budget(K))
    report = result.report
    config = result.config
    return Schedule(
        tuple(levels),
        {
            "method": f"art_rl_{config.form}",
            "model": result.model,
            "model_digest": result.model_digest,
            "budget": int(K),
            "solver": "euler",
            "seed": config.seed,
            "config_digest": config.digest,
            "versions": versions(),
            "details": {
                "mode": config.mode,
                "state": config.state,
                "cost": config.cost,
                "learned_steps": config.steps,
                "converged": report["converged"],
                "ratio": report["ratio"],
                "verdict": report["verdict"],
            },
        },
    )


def theta_statistics(theta: Tensor) -> Tensor:
    """(n, B) speeds as (n, 4): mean, 0.5 % and 99.5 % quantile, smallest."""
    quantiles = torch.quantile(theta, torch.tensor([0.005, 0.995], dtype=theta.dtype), dim=1)
    return torch.stack([theta.mean(1), quantiles[0], quantiles[1], theta.min(1).values], 1)


@dataclass
class BudgetsResult:
    """Schedules learned one budget at a time.

    Attributes:
        method: row of the tables.
        settings: of the learner, JSON-like.
        solver: the solver every schedule is for, or "any".
        model, model_digest: provenance.
        levels: K -> (K + 1,) float64 levels.
        coefficients: K -> (J,) float64 parameters of the policy.
        report: JSON-like: "budgets": {str(K): {...}}, "evaluations"; keys in docs/learning.md.
    """

    method: str
    settings: dict[str, Any]
    solver: str
    model: str
    model_digest: str
    levels: dict[int, Tensor]
    coefficients: dict[int, Tensor]
    report: dict[str, Any]

    def schedule(self, K: int) -> Schedule:
        """The learned schedule of budget K with its provenance.

        Raises:
            ArtRLError: K was not among the budgets learned.
        """
        if K not in self.levels:
            raise ArtRLError(
                f"no schedule was learned for K = {K}; learned: {sorted(self.levels)}; "
                "use Schedule.resample to carry one over"
            )
        return Schedule(
            tuple(self.levels[K].tolist()),
            {
                "method": self.method,
                "model": self.model,
                "model_digest": self.model_digest,
                "budget": int(K),
                "solver": self.solver,
                "seed": self.settings["seed"],
                "config_digest": digest(self.settings),
                "versions": versions(),
                "details": dict(self.report["budgets"][str(K)]),
            },
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write <path>.safetensors and <path>.json (any suffix of ``path`` is replaced)."""
        tensors = {f"levels.{K}": value for K, value in self.levels.items()}
        tensors |= {f"coefficients.{K}": value for K, value in self.coefficients.items()}
        names = ("method", "settings", "solver", "model", "model_digest")
        meta = {"format": BUDGETS_FORMAT} | {name: getattr(self, name) for name in names}
        write_result(path, tensors, meta, self.report)


def load_budgets(path: str | os.PathLike) -> BudgetsResult:
    """Read a `BudgetsResult` by the path it was saved under (or either of its two files).

    Raises:
        ArtRLError: a file is missing, damaged, or the two do not belong together.
    """
    tensors, meta, report = read_result(path, BUDGETS_FORMAT)
    del meta["format"]

    def of(kind: str) -> dict[int, Tensor]:
        names = [name for name in tensors if name.startswith(f"{kind}.")]
        return {K: tensors[f"{kind}.{K}"] for K in sorted(int(n.split(".")[1]) for n in names)}

    return BudgetsResult(
        **meta, levels=of("levels"), coefficients=of("coefficients"), report=report
    )
