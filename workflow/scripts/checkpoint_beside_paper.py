"""Our FID beside the paper's, with the difference; feeds Tables 2, 3, 5, 6."""

from rule_job import run

from art_rl.errors import ArtRLError
from art_rl.files import read_json, write_text
from art_rl.report.paper_comparison import NOTE, beside_paper, shown
from art_rl.report.tables import plain_latex, plain_markdown, read_rows, write_rows


def main(snakemake):
    name = snakemake.params.table["paper"]
    numbers = read_json(snakemake.input.paper)
    if name not in numbers["tables"]:
        raise ArtRLError(f"no paper table {name!r}; known: {', '.join(numbers['tables'])}")
    paper = numbers["tables"][name]
    rows = beside_paper(read_rows(snakemake.input.table), paper)
    note = f"{NOTE} Paper: {numbers['source']}, {name.replace('_', ' ')} ({paper['data']})."
    write_rows(snakemake.output.csv, rows)
    write_text(snakemake.output.md, plain_markdown(shown(rows), note))
    write_text(snakemake.output.tex, plain_latex(shown(rows), note))


run(main, snakemake)  # noqa: F821
