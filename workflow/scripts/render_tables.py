"""Every table of one model, as CSV, Markdown and LaTeX; feeds Table 1 and its siblings."""

from pathlib import Path

from rule_job import run

from art_rl.files import read_json, write_text
from art_rl.registry import HAND_MADE, LEARNED, METHODS, METRICS
from art_rl.report.comparison import compare, comparison_markdown
from art_rl.report.latex import plain_latex, to_latex
from art_rl.report.paper_comparison import NOTE, beside_paper, shown
from art_rl.report.tables import (
    build_table,
    paper_block,
    plain_markdown,
    read_rows,
    table_rows,
    to_markdown,
    write_rows,
)


def table_of(model, entry, metric, cells, provenance, numbers):
    """One table in one metric, of its seed blocks; a metric of all blocks together stands once."""
    blocks = 1 if metric.endswith("_all") else entry["seed_blocks"]
    cells = [row for row in cells if row["block"] < blocks]
    paper = None
    if "paper" in entry:
        paper = paper_block(numbers, entry["paper"], metric, provenance["paper_note"])
    return build_table(
        cells,
        model,
        entry["solver"],
        metric,
        entry["methods"],
        entry["budgets"],
        provenance["floors"].get(metric),
        paper,
        provenance["metric_labels"].get(metric),
    )


def wins(cells, metrics, model):
    """(rows, Markdown) of ART-RL against hand-made schedules at equal NFE."""
    there = {row["method"] for row in cells}
    groups = {
        group: [m.id for m in METHODS.values() if m.group == group and m.id in there]
        for group in (LEARNED, HAND_MADE)
    }

    def outcomes(learned):
        results = [compare(cells, learned, groups[HAND_MADE], metric) for metric in metrics]
        return [row for table in results for row in table]

    best = outcomes(groups[LEARNED])
    forms = {form: outcomes([form]) for form in groups[LEARNED]}
    rows = [{"form": form, **row} for form, t in {"best": best, **forms}.items() for row in t]
    return rows, comparison_markdown(best, forms, model)


def main(snakemake):
    model, tables = snakemake.params.model, snakemake.params.tables
    paths = {Path(path).name: path for path in snakemake.output}
    cells = {Path(path).stem: read_rows(path) for path in snakemake.input.cells}
    facts = {
        Path(path).name.removesuffix(".provenance.json"): read_json(path)
        for path in snakemake.input.provenance
    }
    numbers = read_json(snakemake.input.paper)
    for name, entry in tables.items():
        solver = entry["solver"]
        for metric in entry["metrics"]:
            table = table_of(model, entry, metric, cells[solver], facts[solver], numbers)
            write_rows(paths[f"{name}_{metric}.csv"], table_rows(table))
            write_text(paths[f"{name}_{metric}.md"], to_markdown(table))
            write_text(paths[f"{name}_{metric}.tex"], to_latex(table))
        if f"{name}_beside_paper.csv" in paths:
            paper = numbers["tables"][entry["paper"]]
            rows = beside_paper(read_rows(paths[f"{name}_fid.csv"]), paper)
            title = f"{entry['paper'].replace('_', ' ')} ({paper['data']})"
            note = f"{NOTE} Paper: {numbers['source']}, {title}."
            write_rows(paths[f"{name}_beside_paper.csv"], rows)
            write_text(paths[f"{name}_beside_paper.md"], plain_markdown(shown(rows), note))
            write_text(paths[f"{name}_beside_paper.tex"], plain_latex(shown(rows), note))
    if snakemake.params.wins:
        every = [row for rows in cells.values() for row in rows]
        metrics = [name for name in METRICS if METRICS[name].paired and name in every[0]]
        rows, text = wins(every, metrics, model)
        write_rows(paths[f"{model}_wins.csv"], rows)
        write_text(paths[f"{model}_wins.md"], text)


run(main, snakemake)  # noqa: F821
