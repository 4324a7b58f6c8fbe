"""Figure and table of the experiment on the left-end sum."""

from rule_job import run

from art_rl.files import write_text
from art_rl.report.figures import save
from art_rl.report.left_sum_figure import left_sum_figure, left_sum_markdown
from art_rl.report.tables import read_rows


def main(snakemake):
    given, out = snakemake.input, snakemake.output
    lists = read_rows(given.lists)
    figure = left_sum_figure(lists, read_rows(given.landscape), read_rows(given.learning))
    save(figure, [out.pdf, out.png])
    write_text(out.md, left_sum_markdown(lists))


run(main, snakemake)  # noqa: F821
