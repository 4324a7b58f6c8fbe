"""ART-RL beside the other schedules: wins and losses, the best pair per NFE.

outcome    per solver, K and other schedule: win, tie or loss of ART-RL; a tie is a paired difference
           over seed blocks within its standard deviation, or within 1 %
frontier   the best (solver, schedule) of ART-RL, of its rivals and of the schedules made without
           learning, at every number of network calls at which it beats all pairs of fewer calls
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from art_rl.registry import LEARNED, METHODS, METRICS, RIVAL, SOLVERS, TRANSFER
from art_rl.report.comparison import Row, compare, counts_by_solver, lowest, missed_row
from art_rl.report.tables import markdown_table, number

TIE = 0.01
# Groups of the frontier: label -> groups of the registry.
SIDES = {"ART-RL": (LEARNED,), "Rivals": (RIVAL,), "Without learning": ("Hand-made", "Closed form")}


def outcomes(rows: Sequence[Row], learned: str, metric: str) -> list[dict[str, Any]]:
    """`comparison.compare` of one form of ART-RL with every other schedule that is not its own kind.

    Args:
        rows: of cells files, any solvers.
        learned: method id of the form.
        metric: "fid", "rmse" or "w2".
    """
    present = {row["method"] for row in rows}
    others = [
        m.id for m in METHODS.values() if m.id in present and m.group not in (LEARNED, TRANSFER)
    ]
    return compare(rows, [learned], others, metric, TIE)


def outcomes_markdown(results: Sequence[Row], model: str, learned: str) -> str:
    """Counts per solver and schedule, and every cell that is not won.

    Args:
        results: of `outcomes`, of any number of metrics.
    """
    label = METHODS[learned].label
    lines = [
        f"**{label} on {model}: wins / ties / losses at equal NFE**",
        "",
        "A tie: the paired difference over seed blocks is within its standard deviation, or within 1 %.",
        "",
    ]
    for metric in dict.fromkeys(result["metric"] for result in results):
        mine = [result for result in results if result["metric"] == metric]
        solvers = list(dict.fromkeys(result["solver"] for result in mine))
        head = [f"{METRICS[metric].label}, against", *(SOLVERS[s].label for s in solvers), "all"]
        table = [head]
        for other in dict.fromkeys(result["baseline"] for result in mine):
            against = [result for result in mine if result["baseline"] == other]
            table.append(counts_by_solver(METHODS[other].label, against, solvers, "-"))
        against = lowest(mine, lambda result: result["baseline_mean"])
        best = counts_by_solver("**the best of all others**", against, solvers, "-")
        table.append([*best[:-1], f"**{best[-1]}**"])
        lines += [*markdown_table(table), ""]
        lost = [result for result in mine if result["outcome"] != "win"]
        if lost:
            table = [["Not won", "K", "against", "its value", label, "ratio", ""]]
            for r in lost:
                table.append(
                    [SOLVERS[r["solver"]].label, *missed_row(r, number(r["learned_mean"]))]
                )
            lines += [*markdown_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def frontier_rows(rows: Sequence[Row], metric: str, most: int = 20) -> list[dict[str, Any]]:
    """Best (solver, schedule) of each side by number of network calls, up to ``most``.

    Numbers at which no pair beats the best of fewer calls are left out.

    Returns:
        rows {metric, nfe, side, solver, method, K, mean, sd}, by side and calls.
    """
    cells: dict[tuple[int, str, str, int], list[float]] = {}
    for row in rows:
        if row["nfe"] <= most:
            key = (row["nfe"], row["solver"], row["method"], row["K"])
            cells.setdefault(key, []).append(row[metric])
    found = []
    for side, groups in SIDES.items():
        own = {key: v for key, v in cells.items() if METHODS[key[2]].group in groups}
        lowest = np.inf
        for calls in sorted({key[0] for key in own}):
            here = {key: v for key, v in own.items() if key[0] == calls}
            best = min(here, key=lambda key: np.mean(here[key]))
            values = np.array(here[best])
            if not values.mean() < lowest:
                continue
            lowest = values.mean()
            found.append(
                {
                    "metric": metric,
                    "nfe": calls,
                    "side": side,
                    "solver": best[1],
                    "method": best[2],
                    "K": best[3],
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                }
            )
    return found


def frontier_markdown(rows: Sequence[Row], model: str) -> str:
    """The best pairs, a row per number of calls; "-" where fewer calls do as well."""
    lines = [f"**The best solver and schedule per NFE on {model}**", ""]
    for metric in dict.fromkeys(row["metric"] for row in rows):
        mine = [row for row in rows if row["metric"] == metric]
        table = [[METRICS[metric].label, *SIDES]]
        for calls in sorted({row["nfe"] for row in mine}):
            line = [f"NFE {calls}"]
            for side in SIDES:
                own = [r for r in mine if (r["nfe"], r["side"]) == (calls, side)]
                line += [
                    f"{number(r['mean'])} ({SOLVERS[r['solver']].label}, {METHODS[r['method']].label})"
                    for r in own
                ] or ["-"]
            table.append(line)
        lines += [*markdown_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"
