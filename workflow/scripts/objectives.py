"""What every learner and seed of every model reached, against its yardstick."""

from rule_job import run

from art_rl.files import read_json, read_json_lines, write_text
from art_rl.report.latex import plain_latex
from art_rl.report.tables import plain_markdown, write_rows

NOTE = (
    "Objective (lower is better) of every learner and seed over its yardstick. A fine clock (no K): ART's "
    "objective E int |Q| theta^2 dt of the learned policy, and of the one list distilled from it, over the "
    "time-only closed form; bound: the per-trajectory optimum, which only a clock that sees x can approach. "
    "K steps: the cost with theta held over each step over the best K-step list. Both on the same held-out "
    "trajectories. Endpoint reward: the endpoint RMSE over that of the schedule learning started from, on "
    "the states the final choice is made on."
)
COLUMNS = "model learner solver seed K yardstick optimum objective ratio distilled_ratio bound_ratio verdict"
EMPTY = dict.fromkeys(COLUMNS.split(), "")


def of_clock(report):
    """The row of one clock for every budget."""
    closed = report["closed_form"]
    yield {
        "yardstick": "closed form",
        "optimum": closed,
        "objective": report["objective"],
        "ratio": report["ratio"],
        "distilled_ratio": report["distilled_objective"] / closed,
        "bound_ratio": report["per_trajectory_bound"] / closed,
        "verdict": report["verdict"],
    }


def of_budgets(report):
    """One row per budget."""
    for K, found in report["budgets"].items():
        if int(K) == 1:
            continue
        steps = "optimum" in found
        optimum = found["optimum"] if steps else found["merit_start"]
        objective = found["objective"] if steps else found["merit_learned"]
        yield {
            "K": int(K),
            "yardstick": "K-step optimum" if steps else "its start",
            "optimum": optimum,
            "objective": objective,
            "ratio": objective / optimum,
            "verdict": found["verdict"],
        }


def main(snakemake):
    rows, timings = [], []
    files = zip(
        snakemake.params.runs, snakemake.input.reports, snakemake.input.metrics, strict=True
    )
    for (model, learner, _, seed), path, metrics in files:
        head = read_json(path)
        report = head["report"]
        who = {
            "model": model,
            "learner": learner,
            "solver": head.get("solver", "any"),
            "seed": seed,
        }
        made = of_budgets(report) if "budgets" in report else of_clock(report)
        rows += [EMPTY | who | row for row in made]
        lines = read_json_lines(metrics)
        seconds = round(lines[-1]["seconds"], 1) if lines else 0.0
        timings.append({**who, "iterations": len(lines), "seconds": seconds})
    write_rows(snakemake.output.csv, rows)
    write_rows(snakemake.output.timings, timings)
    write_text(snakemake.output.md, plain_markdown(rows, NOTE))
    write_text(snakemake.output.tex, plain_latex(rows, NOTE))


run(main, snakemake)  # noqa: F821
