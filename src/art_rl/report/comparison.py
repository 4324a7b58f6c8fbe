"""ART-RL against hand-made schedules at equal NFE, and other summaries of image cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from art_rl.registry import METHODS, METRICS
from art_rl.report.tables import markdown_table, number

Row = Mapping[str, Any]

OUTCOMES = ("win", "tie", "loss")


def compare(
    rows: Sequence[Row],
    learned: Sequence[str],
    baselines: Sequence[str],
    metric: str,
    tie: float = 0.0,
) -> list[dict[str, Any]]:
    """ART-RL against every other schedule at equal NFE, seed block by seed block.

    For every solver, K and baseline: the learned method of lowest mean, and whether it wins, ties or
    loses.  A tie: the paired difference over blocks is, in the mean, no larger than its standard
    deviation (with one block: equal values), or within ``tie`` of the other's mean.

    Args:
        rows: of cells files, any solvers.
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


def counts(results: Iterable[Row], none: str) -> str:
    """Wins / ties / losses; ``none`` where there are no results."""
    found = [result["outcome"] for result in results]
    return " / ".join(str(found.count(outcome)) for outcome in OUTCOMES) if found else none


def counts_by_solver(
    label: str, results: Sequence[Row], solvers: Sequence[str], none: str = "not sampled"
) -> list[str]:
    """A row of counts: of each solver, then of all."""
    each = [counts([r for r in results if r["solver"] == solver], none) for solver in solvers]
    return [label, *each, counts(results, none)]


def missed_row(result: Row, learned: str) -> list[str]:
    """K, the other schedule, its value, that of ``learned`` as text, ratio and outcome of a cell not won."""
    return [
        str(result["K"]),
        METHODS[result["baseline"]].label,
        number(result["baseline_mean"]),
        learned,
        f"{result['ratio']:.3f} ± {result['spread']:.3f}",
        result["outcome"],
    ]


def comparison_markdown(
    results: Sequence[Row], forms: Mapping[str, Sequence[Row]], model: str
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
            rows.append(counts_by_solver(METHODS[baseline].label, against, solvers))
        worst = _strictest(mine)
        rows.append(counts_by_solver("**every hand-made schedule**", worst, solvers))
        for form, own in forms.items():
            worst = _strictest([result for result in own if result["metric"] == metric])
            label = f"every hand-made schedule, {METHODS[form].label} alone"
            rows.append(counts_by_solver(label, worst, solvers))
        lines += [*markdown_table(rows, numbers=False), ""]
    missed = [result for result in results if result["outcome"] != "win"]
    if missed:
        rows = [["Metric", "Solver", "K", "Against", "its value", "ART-RL", "ratio", ""]]
        for r in missed:
            learned = f"{number(r['learned_mean'])} ({METHODS[r['learned']].label})"
            rows.append([METRICS[r["metric"]].label, r["solver"], *missed_row(r, learned)])
        lines += ["Cells that are not won:", "", *markdown_table(rows, numbers=False), ""]
    lines.append(
        "A tie: the paired difference over seed blocks is within its standard deviation. "
        "With one block only equal values tie."
    )
    return "\n".join(lines) + "\n"


def lowest(results: Sequence[Row], size: Callable[[Row], float]) -> list[Row]:
    """Per solver and K the result of the lowest ``size``, of equals the first."""
    found: dict[tuple[str, int], Row] = {}
    for result in results:
        known = found.setdefault((result["solver"], result["K"]), result)
        if size(result) < size(known):
            found[result["solver"], result["K"]] = result
    return list(found.values())


def _strictest(results: Sequence[Row]) -> list[Row]:
    """Per solver and K the worst outcome against any baseline: won is what is won against every one."""
    return lowest(results, lambda result: -OUTCOMES.index(result["outcome"]))


def trust_markdown(rows: Sequence[Row]) -> str:
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
        title = f"**LeNet-FID / endpoint RMSE, solver {solver}, {samples} samples**"
        lines += [title, "", *markdown_table(table, numbers=False), ""]
    return "\n".join(lines)
