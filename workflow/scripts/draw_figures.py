"""All figures of one model, PDF and PNG, from its cells, schedules and learning curves; feeds the report."""

from rule_job import run

from art_rl.report.figures import save
from art_rl.report.model_figures import ModelFigures


def main(snakemake):
    params, inputs = snakemake.params, snakemake.input
    names = (
        "cells provenance previews schedules profile optimum clocks reports thetas endpoint losses"
    )
    figures = ModelFigures(
        params.model,
        params.settings,
        {name: list(inputs.get(name, [])) for name in names.split()},
        params.figures,
        params.metrics,
        params.runs,
        params.budgets,
        bool(params.network),
    )
    for kind, *paths in zip(params.kinds, snakemake.output.pdf, snakemake.output.png, strict=True):
        save(figures.draw(kind), paths)


run(main, snakemake)  # noqa: F821
