"""Result of the endpoint-reward learner: one schedule per budget with its report."""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.learning.endpoint_config import EndpointConfig
from art_rl.learning.storage import read_result, write_result
from art_rl.records import versions
from art_rl.schedules.schedule import Schedule

FORMAT = "art_rl.control.endpoint_result"
METHOD = "art_rl_endpoint"


@dataclass
class EndpointResult:
    """What a run leaves behind.

    Attributes:
        config: its settings.
        solver: the solver every schedule is for.
        model_digest: SHA-256 of the model.
        levels: K -> (K + 1,) float64 levels.
        coefficients: K -> (J,) float64 of the density network (relative to the start named in the
            report), zeros if the start was kept.
        report: JSON-like: "budgets": {str(K): {...}}, "reference_error", "nfe_spent", "seconds"; keys
            explained in docs/endpoint_reward.md.
    """

    config: EndpointConfig
    solver: str
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
                "method": METHOD,
                "model_digest": self.model_digest,
                "budget": int(K),
                "solver": self.solver,
                "seed": self.config.seed,
                "config_digest": self.config.digest,
                "versions": versions(),
                "details": dict(self.report["budgets"][str(K)]),
            },
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write <path>.safetensors and <path>.json (any suffix of ``path`` is replaced)."""
        tensors = {f"levels.{K}": value for K, value in self.levels.items()}
        tensors |= {f"coefficients.{K}": value for K, value in self.coefficients.items()}
        meta = {
            "format": FORMAT,
            "solver": self.solver,
            "model_digest": self.model_digest,
            "config": self.config.to_dict(),
        }
        write_result(path, tensors, meta, self.report)


def load_endpoint_result(path: str | os.PathLike) -> EndpointResult:
    """Read a result by the path it was saved under (or either of its two files).

    Raises:
        ArtRLError: a file is missing, damaged, or the two do not belong together.
    """
    tensors, meta, report = read_result(path, FORMAT)

    def of(kind: str) -> dict[int, Tensor]:
        names = [name for name in tensors if name.startswith(f"{kind}.")]
        return {K: tensors[f"{kind}.{K}"] for K in sorted(int(n.split(".")[1]) for n in names)}

    return EndpointResult(
        EndpointConfig.from_dict(meta["config"]),
        meta["solver"],
        meta["model_digest"],
        of("levels"),
        of("coefficients"),
        report,
    )
