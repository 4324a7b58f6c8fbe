"""ART-RL against hand-made schedules at equal NFE, and other summaries of image cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from art_rl.registry import METHODS, METRICS
from art_rl.report.tables import number

OUTCOMES = ("win", "tie", "loss")


def compare(
    rows: Sequence[Mapping[str, Any]],
    learned: Sequence[str],
    baselines: Sequence[str],
    metric: str,
    tie: float = 0.0,
) -> list[dict[str, Any]]:
    """ART-RL against every other schedule at equal NFE, seed block by seed block.

    For every solver, K and baseline: the learned method of lowest mean, and whether it wins, ties or
    loses.  A tie: the paired difference over blocks is, in the mean, no larger than its standard
    deviation (with one block there are none of these), or within ``tie`` of the other's mean.

    Args:
        rows: of cells files, any solvers.
        learned, baselines: method ids.
        metric: "fid" or "rmse".
        tie: relative difference of the means that counts as none.

    Returns:
        rows {solver, K, nfe, metric, baseline, baseline_mean, learned, learned_mean, ratio, spread,
        outcome}; spread is the standard deviation of the paired ratio (0 with one block).
    """
    values: dict[tuple[str, int, str], dict[int, float]] = {}
    calls: dict[tuple[str, int], int] = {}
    for row in rows:
        values.setdefault((row["solver"], row["K"], row["method"]), {})[row["block"]] = row[metric]
        calls[row["solver"], row["K"]] = row["nfe"]
    result = []
    for solver, K in calls:
        ours = [name for name in learned if (solver, K, name) in values]
        if not ours:
            continue
        best = min(ours, key=lambda name: np.mean(list(values[solver, K, name].values())))
        mine = values[solver, K, best]
        for baseline in baselines:
            theirs = values.get((solver, K, baseline))
            if theirs is None:
                continue
            blocks = sorted(set(mine) & set(theirs))
            a = np.array([mine[b] for b in blocks])
            c = np.array([theirs[b] for b in blocks])
            difference, ratio = a - c, a / c
            spread = float(ratio.std(ddof=1)) if len(blocks) > 1 else 0.0
            tied = len(blocks) > 1 and abs(difference.mean()) <= difference.std(ddof=1)
            tied = tied or abs(difference.mean()) <= tie * c.mean()
            outcome = "tie" if tied else "win" if difference.mean() < 0 else "loss"
            result.append(
                {
                    "solver": solver,
                    "K": K,
                    "nfe": calls[solver, K],
                    "metric": metric,
                    "baseline": baseline,
                    "baseline_mean": float(c.mean()),
                    "learned": best,
                    "learned_mean": float(a.mean()),
                    "ratio": float(a.mean() / c.mean()),
                    "spread": spread,
                    "outcome": outcome,
                }
            )
    return result


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison_markdown(
    results: Sequence[Mapping[str, Any]],
    forms: Mapping[str, Sequence[Mapping[str, Any]]],
    model: str,
) -> str:
    """`compare`'s rows as Markdown: counts per solver and baseline, then every cell not won.

    Args:
        results: with all forms of ART-RL to choose from.
        forms: method id -> rows with that form alone.

    Raises:
        KeyError: rows of something else.
    """
    lines = [
        f"**ART-RL on {model}: wins / ties / losses**",
        "",
        "The form of ART-RL with the lowest mean of the cell, chosen on the same images; the last rows "
        "of each table hold one form fixed.",
        "",
    ]
    for metric in dict.fromkeys(result["metric"] for result in results):
        mine = [result for result in results if result["metric"] == metric]
        solvers = list(dict.fromkeys(result["solver"] for result in mine))
        rows = [[f"{METRICS[metric].label}, against", *solvers, "all"]]
        for baseline in dict.fromkeys(result["baseline"] for result in mine):
            against = [result for result in mine if result["baseline"] == baseline]
            rows.append(
                [METHODS[baseline].label]
                + [_count([r for r in against if r["solver"] == s]) for s in solvers]
                + [_count(against)]
            )
        rows.append(_against_every("**every hand-made schedule**", mine, solvers))
        for form, own in forms.items():
            own = [result for result in own if result["metric"] == metric]
            label = f"every hand-made schedule, {METHODS[form].label} alone"
            rows.append(_against_every(label, own, solvers))
        lines += [_markdown(rows), ""]
    missed = [result for result in results if result["outcome"] != "win"]
    if missed:
        rows = [["Metric", "Solver", "K", "Against", "its value", "ART-RL", "ratio", ""]]
        rows += [
            [
                METRICS[r["metric"]].label,
                r["solver"],
                str(r["K"]),
                METHODS[r["baseline"]].label,
                number(r["baseline_mean"]),
                f"{number(r['learned_mean'])} ({METHODS[r['learned']].label})",
                f"{r['ratio']:.3f} ± {r['spread']:.3f}",
                r["outcome"],
            ]
            for r in missed
        ]
        lines += ["Cells that are not won:", "", _markdown(rows), ""]
    lines.append(
        "A tie: the paired difference over seed blocks is within its standard deviation. "
        "With one block there are no ties."
    )
    return "\n".join(lines) + "\n"


def _against_every(
    label: str, results: Sequence[Mapping[str, Any]], solvers: Sequence[str]
) -> list[str]:
    """A row of counts: a budget is won if it is won against every baseline."""
    every = [_strictest([r for r in results if r["solver"] == s]) for s in solvers]
    counts = [_count(part) for part in every]
    return [label, *counts, _count([r for part in every for r in part])]


def _strictest(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Per budget the worst outcome against any baseline."""
    worst: dict[int, Mapping[str, Any]] = {}
    for result in results:
        known = worst.setdefault(result["K"], result)
        if OUTCOMES.index(result["outcome"]) > OUTCOMES.index(known["outcome"]):
            worst[result["K"]] = result
    return list(worst.values())


def _count(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return "not sampled"
    return " / ".join(str(sum(r["outcome"] == outcome for r in results)) for outcome in OUTCOMES)


def trust_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ablation of the range in which a network's |Q| is trusted, as Markdown."""
    lines = []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == solver]
        budgets = sorted({row["K"] for row in mine})
        table = [["Trusted range", "Method", *(f"K = {K}" for K in budgets)]]
        for trust, method in dict.fromkeys((row["trust"], row["method"]) for row in mine):
            cells = {
                row["K"]: f"{number(row['fid'])} / {number(row['rmse'])}"
                for row in mine
                if (row["trust"], row["method"]) == (trust, method)
            }
            table.append([trust, METHODS[method].label, *(cells[K] for K in budgets)])
        samples = mine[0]["samples"]
        lines += [
            f"**LeNet-FID / endpoint RMSE, solver {solver}, {samples} samples**",
            "",
            _markdown(table),
            "",
        ]
    return "\n".join(lines)
