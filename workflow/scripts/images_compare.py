"""Wins, ties and losses of ART-RL against hand-made schedules at equal NFE; feeds the docs."""

from rule_job import run

from art_rl.files import write_text
from art_rl.registry import HAND_MADE, LEARNED, METHODS
from art_rl.report.comparison import compare, comparison_markdown
from art_rl.report.tables import read_rows, write_rows


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    present = {row["method"] for row in rows}
    groups = {
        group: [m.id for m in METHODS.values() if m.group == group and m.id in present]
        for group in (LEARNED, HAND_MADE)
    }

    def outcomes(learned):
        return [
            result
            for metric in ("fid", "rmse")
            for result in compare(rows, learned, groups[HAND_MADE], metric)
        ]

    best = outcomes(groups[LEARNED])
    forms = {form: outcomes([form]) for form in groups[LEARNED]}
    tables = {"best": best, **forms}
    write_rows(
        snakemake.output.csv,
        [{"form": form, **row} for form, table in tables.items() for row in table],
    )
    write_text(snakemake.output.md, comparison_markdown(best, forms, snakemake.wildcards.model))


run(main, snakemake)  # noqa: F821
