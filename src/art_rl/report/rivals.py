"""ART-RL beside the other schedules: wins and losses, the price of learning, the best pair per NFE.

outcome    per solver, K and other schedule: win, tie or loss of ART-RL; a tie is a paired difference
           over seed blocks within its standard deviation, or within 1 %
price      network evaluations (one per sample and call; a backward pass counts two) that went into a
           schedule, beside its quality relative to the best schedule of the same solver and K
frontier   the best (solver, schedule) of ART-RL, of its rivals and of the schedules made without
           learning, at every number of network calls at which it beats all pairs of fewer calls
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from art_rl.registry import LEARNED, METHODS, RIVAL, SOLVERS, TRANSFER
from art_rl.report.comparison import OUTCOMES, compare
from art_rl.report.tables import METRIC_LABELS, number

Row = Mapping[str, Any]

TIE = 0.01
# Groups of the frontier: label -> groups of the registry.
SIDES = {
    "ART-RL": (LEARNED,),
    "Rivals": (RIVAL,),
    "Without learning": ("Hand-made", "Closed form"),
}


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


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _count(results: Iterable[Row]) -> str:
    found = [result["outcome"] for result in results]
    return " / ".join(str(found.count(outcome)) for outcome in OUTCOMES) if found else "-"


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
        head = [f"{METRIC_LABELS[metric]}, against", *(SOLVERS[s].label for s in solvers), "all"]
        table = [head]
        for other in dict.fromkeys(result["baseline"] for result in mine):
            against = [result for result in mine if result["baseline"] == other]
            counts = [_count(r for r in against if r["solver"] == s) for s in solvers]
            table.append([METHODS[other].label, *counts, _count(against)])
        worst = _worst(mine)
        counts = [_count(r for r in worst if r["solver"] == s) for s in solvers]
        table.append(["**the best of all others**", *counts, f"**{_count(worst)}**"])
        lines += [_table(table), ""]
        lost = [result for result in mine if result["outcome"] != "win"]
        if lost:
            table = [["Not won", "K", "against", "its value", label, "ratio", ""]]
            table += [
                [
                    SOLVERS[r["solver"]].label,
                    str(r["K"]),
                    METHODS[r["baseline"]].label,
                    number(r["baseline_mean"]),
                    number(r["learned_mean"]),
                    f"{r['ratio']:.3f} ± {r['spread']:.3f}",
                    r["outcome"],
                ]
                for r in lost
            ]
            lines += [_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _worst(results: Sequence[Row]) -> list[Row]:
    """Per solver and K the outcome against the other schedule of lowest mean."""
    best: dict[tuple[str, int], Row] = {}
    for result in results:
        known = best.setdefault((result["solver"], result["K"]), result)
        if result["baseline_mean"] < known["baseline_mean"]:
            best[result["solver"], result["K"]] = result
    return list(best.values())


def reference_evaluations(result: Mapping[str, Any]) -> int:
    """Evaluations of the reference solution of an endpoint-reward run: its total less its budgets'.

    Args:
        result: content of the run's result.json.
    """
    report = result["report"]
    key = "evaluations" if "evaluations" in report else "nfe_spent"
    return int(report[key] - sum(own[key] for own in report["budgets"].values()))


def evaluations(provenance: Mapping[str, Any]) -> int | None:
    """Network evaluations behind one schedule, its reference's included where it is recorded.

    None if its file does not say.
    """
    details = provenance.get("details", {})
    method = METHODS.get(provenance.get("method", ""))
    if method is not None and method.group == "Hand-made":
        return 0
    for block in (details, details.get("profile", {}), details.get("moments", {})):
        for key in ("evaluations", "nfe_spent"):
            if key in block:
                return int(block[key]) + int(block.get("reference_evaluations", 0))
    return None


def price_rows(
    rows: Sequence[Row],
    provenances: Iterable[Mapping[str, Any]],
    metric: str,
    references: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """Price and quality of every cell whose schedule says what it took.

    Args:
        rows: of cells files.
        provenances: of the same cells files: {"schedules": [{"method", "K", "provenance"}]}, one per
            solver, each with the key "solver".
        metric: quality.
        references: solver -> `reference_evaluations` of ART-RL's run on the endpoint error, added to
            each of its schedules.

    Returns:
        rows {solver, K, method, evaluations, metric, mean, ratio}; ratio is to the lowest mean of the
        same solver and K.
    """
    spent = {
        (part["solver"], entry["method"], entry["K"]): evaluations(
            {"method": entry["method"], **entry["provenance"]}
        )
        for part in provenances
        for entry in part["schedules"]
    }
    means: dict[tuple[str, int], dict[str, list[float]]] = {}
    for row in rows:
        means.setdefault((row["solver"], row["K"]), {}).setdefault(row["method"], []).append(
            row[metric]
        )
    found = []
    for (solver, K), methods in means.items():
        average = {name: float(np.mean(values)) for name, values in methods.items()}
        lowest = min(average.values())
        for name in [name for name in METHODS if name in average]:
            price = spent.get((solver, name, K))
            if price is not None:
                if name == "art_rl_endpoint":
                    price += (references or {}).get(solver, 0)
                found.append(
                    {
                        "solver": solver,
                        "K": K,
                        "method": name,
                        "evaluations": price,
                        "metric": metric,
                        "mean": average[name],
                        "ratio": average[name] / lowest,
                    }
                )
    return found


def price_markdown(rows: Sequence[Row], model: str) -> str:
    """Per method: evaluations over its budgets, and quality relative to the best per solver and K."""
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    metric = rows[0]["metric"] if rows else "rmse"
    table = [["Schedule", "Evaluations", *(f"{SOLVERS[s].label}" for s in solvers)]]
    for name in [name for name in METHODS if any(row["method"] == name for row in rows)]:
        mine = [row for row in rows if row["method"] == name]
        low, high = (f(row["evaluations"] for row in mine) for f in (min, max))
        price = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        cells = []
        for solver in solvers:
            ratios = [row["ratio"] for row in mine if row["solver"] == solver]
            cells.append(f"{np.exp(np.mean(np.log(ratios))):.2f}" if ratios else "-")
        table.append([METHODS[name].label, price, *cells])
    return (
        f"**Network evaluations spent on a schedule, and {METRIC_LABELS[metric]} on {model} relative to "
        "the best of the same solver and K (geometric mean over K)**\n\n"
        + _table(table)
        + "\n\nOne evaluation is one sample in one network call; a backward pass counts two. Statistics, "
        "teachers, profiles and reference solutions serve all budgets at once and are counted in full.\n"
    )


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
        table = [[METRIC_LABELS[metric], *SIDES]]
        for calls in sorted({row["nfe"] for row in mine}):
            line = [f"NFE {calls}"]
            for side in SIDES:
                own = [r for r in mine if (r["nfe"], r["side"]) == (calls, side)]
                line += [
                    f"{number(r['mean'])} ({SOLVERS[r['solver']].label}, {METHODS[r['method']].label})"
                    for r in own
                ] or ["-"]
            table.append(line)
        lines += [_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"
