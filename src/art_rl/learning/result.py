"""The result of a learner of K steps: a list of levels for every budget.

Saved as two files, <stem>.safetensors (tensors, identical for identical runs) and <stem>.json (settings,
report, digest of the tensors).
"""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.learning.storage import read_result, write_result
from art_rl.schedules.schedule import Schedule

FORMAT = "art_rl.learning.budgets"


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
        report: JSON-like: "budgets": {str(K): {...}}, "evaluations"; keys in docs/endpoint_reward.md.
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
        return Schedule.found(
            self.levels[K].tolist(),
            self.method,
            self.report["budgets"][str(K)],
            self.solver,
            self.model,
            self.model_digest,
            self.settings["seed"],
            digest(self.settings),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write <path>.safetensors and <path>.json (any suffix of ``path`` is replaced)."""
        tensors = {f"levels.{K}": value for K, value in self.levels.items()}
        tensors |= {f"coefficients.{K}": value for K, value in self.coefficients.items()}
        names = ("method", "settings", "solver", "model", "model_digest")
        meta = {"format": FORMAT} | {name: getattr(self, name) for name in names}
        write_result(path, tensors, meta, self.report)


def load_budgets(path: str | os.PathLike) -> BudgetsResult:
    """Read a `BudgetsResult` by the path it was saved under (or either of its two files).

    Raises:
        ArtRLError: a file is missing, damaged, or the two do not belong together.
    """
    tensors, meta, report = read_result(path, FORMAT)
    del meta["format"]

    def of(kind: str) -> dict[int, Tensor]:
        names = [name for name in tensors if name.startswith(f"{kind}.")]
        return {K: tensors[f"{kind}.{K}"] for K in sorted(int(n.split(".")[1]) for n in names)}

    return BudgetsResult(
        **meta, levels=of("levels"), coefficients=of("coefficients"), report=report
    )
