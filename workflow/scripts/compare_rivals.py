"""ART-RL beside its rivals on one model; feeds the tables of outcomes, prices and best pairs."""

from pathlib import Path

from rule_job import run

from art_rl.files import read_json, write_text
from art_rl.report.figures import save
from art_rl.report.rival_figures import frontier_figure, price_figure, statistics_figure
from art_rl.report.rivals import (
    frontier_markdown,
    frontier_rows,
    outcomes,
    outcomes_markdown,
    price_markdown,
    price_rows,
    reference_evaluations,
)
from art_rl.report.tables import read_rows, write_rows
from art_rl.schedules.rivals.statistics import RivalStatistics

LEARNED = "art_rl_endpoint"


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    metrics, model = [m for m in snakemake.params.metrics if m != "w2"], snakemake.wildcards.model
    provenances = [
        {**read_json(path), "solver": Path(path).name.removesuffix(".provenance.json")}
        for path in snakemake.input.provenance
    ]
    found = [result for metric in metrics for result in outcomes(rows, LEARNED, metric)]
    results = [read_json(path) for path in snakemake.input.learned]
    references = {result["solver"]: reference_evaluations(result) for result in results}
    prices = price_rows(rows, provenances, metrics[0], references)
    frontier = [row for metric in metrics for row in frontier_rows(rows, metric)]
    out = snakemake.output
    write_rows(out.outcomes, found)
    write_rows(out.prices, prices)
    write_rows(out.frontier, frontier)
    write_text(out.outcomes_md, outcomes_markdown(found, model, LEARNED))
    write_text(out.prices_md, price_markdown(prices, model))
    write_text(out.frontier_md, frontier_markdown(frontier, model))
    figures = (
        price_figure(prices),
        frontier_figure(frontier, read_rows(snakemake.input.adaptive)),
        statistics_figure(RivalStatistics.load(snakemake.input.statistics)),
    )
    for figure, pdf, png in zip(figures, out.pdf, out.png, strict=True):
        save(figure, [pdf, png])


run(main, snakemake)  # noqa: F821
