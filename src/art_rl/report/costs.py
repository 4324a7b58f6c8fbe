"""What a schedule costs: network evaluations behind every fitted and learned row, beside its endpoint RMSE.

One evaluation is one sample in one network call; a backward pass counts two.  Counted for one schedule:
its own search, and in full what serves all budgets at once: statistics, teachers, profile, the table of
trajectories, reference solutions.  Quality is the endpoint RMSE over that of EDM (rho = 7), same solver
and K.  Evaluations repeat to the byte; seconds, which do not, go to costs_timings.csv.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.registry import CLOSED_FORM, LEARNED, METHODS, RIVAL, SOLVERS

Row = Mapping[str, Any]

VERSUS = "edm"
GROUPS = (CLOSED_FORM, RIVAL, LEARNED)
# Rows learned from the table of trajectories, with no call while learning.
FROM_TABLE = ("art_rl", "art_rl_paper", "art_rl_feedback")
# Rows whose search starts from the closed forms, so the profile is behind them too.
FROM_PROFILE = ("gauss_newton", "art_rl_endpoint", "art_rl_decoupled")
NOTE = (
    "Network evaluations behind one schedule (one sample in one call; a backward pass counts two), smallest "
    "to largest over solvers and K, and endpoint RMSE over that of EDM (rho = 7) at the same solver and K, "
    "geometric mean over the K of the row: rows of other tables, such as the rivals', have other K, and "
    "their means are no ranking (the tables of one solver are). Statistics, teachers, profile, table of "
    "trajectories and reference solutions serve all budgets at once and are counted in full. Hand-made rows "
    "cost nothing. "
    "Seconds: costs_timings.csv, timings.csv."
)


def reference_evaluations(result: Mapping[str, Any]) -> int:
    """Evaluations of the reference solution of an endpoint-reward run: its total less its budgets'.

    Args:
        result: content of the run's result.json.
    """
    report = result["report"]
    key = "evaluations" if "evaluations" in report else "nfe_spent"
    return int(report[key] - sum(own[key] for own in report["budgets"].values()))


def evaluations(provenance: Mapping[str, Any]) -> int | None:
    """Network evaluations that a schedule's file tells of, its reference's included where it is recorded.

    0 for hand-made schedules and those read from the table of trajectories; None if the file does not say.
    """
    details = provenance.get("details", {})
    name = provenance.get("method", "")
    method = METHODS.get(name)
    if name in FROM_TABLE or (method is not None and method.group == "Hand-made"):
        return 0
    for block in (details, details.get("profile", {}), details.get("moments", {})):
        for key in ("evaluations", "nfe_spent"):
            if key in block:
                return int(block[key]) + int(block.get("reference_evaluations", 0))
    return None


def cost_rows(
    rows: Sequence[Row],
    provenances: Iterable[Mapping[str, Any]],
    shared: Mapping[tuple[str, str], int],
) -> list[dict[str, Any]]:
    """Evaluations and quality of every fitted and learned cell of one model.

    Args:
        rows: of cells files.
        provenances: of the same cells files: {"schedules": [{"method", "K", "provenance"}]}, one per
            solver, each with the key "solver".
        shared: (method, solver) -> evaluations behind each of its schedules that their files do not tell.

    Returns:
        rows {model, solver, K, method, evaluations, metric, mean, ratio}, where EDM has a cell.

    Raises:
        ArtRLError: a schedule's file does not say what it took.
    """
    spent = {
        (part["solver"], entry["method"], entry["K"]): evaluations(
            {**entry["provenance"], "method": entry["method"]}
        )
        for part in provenances
        for entry in part["schedules"]
    }
    cells: dict[tuple[str, int], dict[str, list[float]]] = {}
    for row in rows:
        own = cells.setdefault((row["solver"], row["K"]), {})
        own.setdefault(row["method"], []).append(row["rmse"])
    found = []
    for (solver, K), methods in cells.items():
        if VERSUS not in methods:
            continue
        base = float(np.mean(methods[VERSUS]))
        for name in [m.id for m in METHODS.values() if m.id in methods and m.group in GROUPS]:
            own_cost = spent.get((solver, name, K))
            if own_cost is None:
                raise ArtRLError(
                    f"schedule {name}, {solver}, K = {K}: its provenance must hold the evaluations it "
                    "took, and does not; make it again"
                )
            mean = float(np.mean(methods[name]))
            found.append(
                {
                    "model": rows[0]["model"],
                    "solver": solver,
                    "K": K,
                    "method": name,
                    "evaluations": own_cost + shared.get((name, solver), 0),
                    "metric": "rmse",
                    "mean": mean,
                    "ratio": mean / base,
                }
            )
    return found


def mean_ratio(rows: Iterable[Row]) -> float:
    """Geometric mean of the ratios."""
    return float(np.exp(np.mean(np.log([row["ratio"] for row in rows]))))


def summary(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A line per model and method: evaluations, and the ratio per solver ("-" where it has no cell)."""
    solvers = [name for name in SOLVERS if any(row["solver"] == name for row in rows)]
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        for name, method in METHODS.items():
            mine = [row for row in rows if (row["model"], row["method"]) == (model, name)]
            if not mine:
                continue
            low, high = (f(row["evaluations"] for row in mine) for f in (min, max))
            line = {"Model": model, "Schedule": method.label}
            line["Evaluations"] = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            for solver in solvers:
                own = [row for row in mine if row["solver"] == solver]
                line[SOLVERS[solver].label] = f"{mean_ratio(own):.3f}" if own else "-"
            lines.append(line)
    return lines
