"""One table of the configuration in one metric, as CSV, Markdown and LaTeX; feeds Table 1."""

from rule_job import run

from art_rl.files import read_json, write_text
from art_rl.report.tables import (
    build_table,
    paper_block,
    read_rows,
    table_rows,
    to_latex,
    to_markdown,
    write_rows,
)


def main(snakemake):
    entry, metric = snakemake.params.table, snakemake.wildcards.metric
    provenance = read_json(snakemake.input.provenance)
    floors = dict(provenance.get("floors", {}).get(metric, {}))
    if metric == "w2":
        facts = provenance["seed_blocks"]
        reference = facts["w2_reference"]
        floors["Reference solution, same noise"] = sum(reference) / len(reference)
        floors["Exact samples (sampling floor)"] = facts["w2_floor"]["mean"]
    paper = None
    if "paper" in entry:
        numbers, note = read_json(snakemake.input.paper), provenance.get("paper_note")
        paper = paper_block(numbers, entry["paper"], metric, note)
    table = build_table(
        read_rows(snakemake.input.cells),
        entry["model"],
        entry["solver"],
        metric,
        snakemake.params.methods,
        entry["budgets"],
        floors,
        paper,
        provenance.get("metric_labels", {}).get(metric),
    )
    write_rows(snakemake.output.csv, table_rows(table))
    write_text(snakemake.output.md, to_markdown(table))
    write_text(snakemake.output.tex, to_latex(table))


run(main, snakemake)  # noqa: F821
