"""The result of a learner of K steps: a list of levels for every budget, as it grows and as it is saved.

Saved as two files, <stem>.safetensors (tensors, identical for identical runs) and <stem>.json (settings,
report, digest of the tensors).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from art_rl.checks import check_budgets
from art_rl.denoisers.tensors import read_result, under, write_result
from art_rl.errors import ArtRLError
from art_rl.files import digest
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
        levels: K -> (K + 1,) float64 levels, or (2, K + 1) with those that the denoiser is told.
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
        lists, facts = self.levels[K].reshape(-1, K + 1).tolist(), self.report["budgets"][str(K)]
        if len(lists) == 2:
            facts = {**facts, "network_levels": lists[1]}
        return Schedule.found(
            lists[0],
            self.method,
            facts,
            self.solver,
            self.model,
            self.model_digest,
            self.settings["seed"],
            digest(self.settings),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write <path>.safetensors and <path>.json (any suffix of ``path`` is replaced)."""
        names = ("method", "settings", "solver", "model", "model_digest")
        meta = {"format": FORMAT} | {name: getattr(self, name) for name in names}
        write_result(path, _named(self.levels, self.coefficients), meta, self.report)


def load_budgets(path: str | os.PathLike) -> BudgetsResult:
    """Read a `BudgetsResult` by the path it was saved under (or either of its two files).

    Raises:
        ArtRLError: a file is missing, damaged, or the two do not belong together.
    """
    tensors, meta, report = read_result(path, FORMAT)
    del meta["format"]
    levels, coefficients = _numbered(tensors)
    return BudgetsResult(**meta, levels=levels, coefficients=coefficients, report=report)


def _named(levels: dict[int, Tensor], coefficients: dict[int, Tensor]) -> dict[str, Tensor]:
    """Both as one, by name."""
    tensors = {f"levels.{K}": value for K, value in levels.items()}
    return tensors | {f"coefficients.{K}": value for K, value in coefficients.items()}


def _numbered(tensors: dict[str, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Levels and coefficients of `_named`, by ascending K."""
    levels, coefficients = (under(tensors, f"{kind}.") for kind in ("levels", "coefficients"))
    return (
        {K: levels[str(K)] for K in sorted(map(int, levels))},
        {K: coefficients[str(K)] for K in sorted(map(int, coefficients))},
    )


class BudgetsJob:
    """What jobs (`run.Job`) that learn one budget after another share: the finished ones.

    Args:
        budgets: values of K, each >= 1; order and repetitions do not matter.
        settings: of the learner, with ``checkpoint_every``.

    Attributes:
        levels, coefficients: of the finished budgets, as in `BudgetsResult`.
        reports: K -> JSON-like.
    """

    def __init__(self, budgets: Sequence[int], settings: Any) -> None:
        self.budgets, self.settings = check_budgets(budgets), settings
        self.checkpoint_every = settings.checkpoint_every
        self.levels: dict[int, Tensor] = {}
        self.coefficients: dict[int, Tensor] = {}
        self.reports: dict[int, dict[str, Any]] = {}

    @property
    def evaluations(self) -> int:
        """Network evaluations so far: none where everything is read from a table."""
        return 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON-like head that `restore` continues from."""
        reports = {str(K): report for K, report in self.reports.items()}
        return _named(self.levels, self.coefficients), {"reports": reports}

    def restore(self, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.levels, self.coefficients = _numbered(tensors)
        self.reports = {int(K): report for K, report in head["reports"].items()}

    def found(self, method: str, solver: str, model: str, model_digest: str) -> BudgetsResult:
        """Schedules and reports of all budgets, as rows of ``method``."""
        reports = {str(K): self.reports[K] for K in self.budgets}
        return BudgetsResult(
            method,
            self.settings.model_dump(),
            solver,
            model,
            model_digest,
            self.levels,
            self.coefficients,
            {"budgets": reports, "evaluations": self.evaluations},
        )
