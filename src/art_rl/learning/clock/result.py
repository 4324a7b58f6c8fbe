"""The result of a fine clock's run: learned networks, the mean clock with its band, and the report.

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
from art_rl.denoisers.tensors import read_result, write_result
from art_rl.learning.clock.mean_policy import levels_from_speed
from art_rl.schedules.clock import read_clock
from art_rl.schedules.schedule import Schedule
from art_rl.settings.learners import LearnerConfig

FORMAT = "art_rl.control.result"


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
    report, config = result.report, result.config
    details = {
        "mode": "fine",
        "state": config.state,
        "cost": config.cost,
        "learned_steps": config.clock_steps,
        **{name: report[name] for name in ("converged", "ratio", "verdict")},
    }
    return Schedule.found(
        levels,
        f"art_rl_{config.form}",
        details,
        "euler",
        result.model,
        result.model_digest,
        config.seed,
        config.digest,
    )


def theta_statistics(theta: Tensor) -> Tensor:
    """(n, B) speeds as (n, 4): mean, 0.5 % and 99.5 % quantile, smallest."""
    quantiles = torch.quantile(theta, torch.tensor([0.005, 0.995], dtype=theta.dtype), dim=1)
    return torch.stack([theta.mean(1), quantiles[0], quantiles[1], theta.min(1).values], 1)
