"""W2 and endpoint RMSE of one model against K; the picture of Table 1."""

from rule_job import run

from art_rl.files import read_json
from art_rl.report.figures import error_figure, save
from art_rl.report.tables import read_rows


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    facts = read_json(snakemake.input.provenance[0]).get("seed_blocks", {})
    floors = {"w2": facts["w2_floor"]["mean"]} if "w2_floor" in facts else {}
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    figure = error_figure(rows, solvers, snakemake.params.metrics, snakemake.params.methods, floors)
    save(figure, snakemake.output)


run(main, snakemake)  # noqa: F821
