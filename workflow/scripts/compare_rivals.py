"""ART-RL beside its rivals on one model; feeds the tables of outcomes and best pairs."""

from rule_job import run

from art_rl.files import write_text
from art_rl.report.figures import save
from art_rl.report.rival_figures import frontier_figure, statistics_figure
from art_rl.report.rivals import frontier_markdown, frontier_rows, outcomes, outcomes_markdown
from art_rl.report.tables import read_rows, write_rows
from art_rl.schedules.rivals.statistics import RivalStatistics

LEARNED = "art_rl_endpoint"


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    metrics, model = [m for m in snakemake.params.metrics if m != "w2"], snakemake.wildcards.model
    found = [result for metric in metrics for result in outcomes(rows, LEARNED, metric)]
    frontier = [row for metric in metrics for row in frontier_rows(rows, metric)]
    out = snakemake.output
    write_rows(out.outcomes, found)
    write_rows(out.frontier, frontier)
    write_text(out.outcomes_md, outcomes_markdown(found, model, LEARNED))
    write_text(out.frontier_md, frontier_markdown(frontier, model))
    figures = (
        frontier_figure(frontier, read_rows(snakemake.input.adaptive)),
        statistics_figure(RivalStatistics.load(snakemake.input.statistics)),
    )
    for figure, pdf, png in zip(figures, out.pdf, out.png, strict=True):
        save(figure, [pdf, png])


run(main, snakemake)  # noqa: F821
