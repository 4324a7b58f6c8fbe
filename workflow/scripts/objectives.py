"""Learned objective of every learner, seed and model against the closed form and its bound."""

from rule_job import run

from art_rl.files import read_json, write_text
from art_rl.report.tables import plain_latex, plain_markdown, write_rows

NOTE = (
    "ART's objective E int |Q| theta^2 dt (lower is better) of the learned policy and of the one list "
    "distilled from it, over the time-only closed form on the same held-out trajectories. bound: the "
    "per-trajectory optimum, which only a clock that sees x can approach."
)


def main(snakemake):
    rows, timings = [], []
    for (model, learner, seed), path in zip(
        snakemake.params.runs, snakemake.input.reports, strict=True
    ):
        result = read_json(path)
        report, settings = result["report"], result["config"]
        closed = report["closed_form"]
        rows.append(
            {
                "model": model,
                "learner": learner,
                "form": settings["form"],
                "state": settings["state"],
                "seed": seed,
                "closed_form": closed,
                "objective": report["objective"],
                "ratio": report["ratio"],
                "distilled_ratio": report["distilled_objective"] / closed,
                "bound_ratio": report["per_trajectory_bound"] / closed,
                "verdict": report["verdict"],
            }
        )
        timings.append(
            {
                "model": model,
                "learner": learner,
                "seed": seed,
                "iterations": report["iterations"],
                "seconds": round(report["seconds"], 1),
            }
        )
    write_rows(snakemake.output.csv, rows)
    write_rows(snakemake.output.timings, timings)
    write_text(snakemake.output.md, plain_markdown(rows, NOTE))
    write_text(snakemake.output.tex, plain_latex(rows, NOTE))


run(main, snakemake)  # noqa: F821
