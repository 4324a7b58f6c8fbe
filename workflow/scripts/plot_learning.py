"""Objective against iterations of one model's learners, beside the closed-form optimum."""

from network_figures import evaluated
from rule_job import run

from art_rl.files import read_json
from art_rl.report.figures import learning_figure, save


def main(snakemake):
    curves = {}
    reports = [read_json(path)["report"] for path in snakemake.input.reports]
    for (label, seed), path in zip(snakemake.params.runs, snakemake.input.metrics, strict=True):
        curves.setdefault(label, {})[seed] = evaluated(path)
    bound = reports[0]["per_trajectory_bound"] / reports[0]["closed_form"]
    criterion = min(report["criterion"] for report in reports)
    save(learning_figure(curves, bound, criterion), snakemake.output)


run(main, snakemake)  # noqa: F821
