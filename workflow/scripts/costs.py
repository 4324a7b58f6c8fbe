"""Network evaluations and seconds behind every fitted and learned row of every model, and their RMSE."""

import csv
from pathlib import Path

from rule_job import run

from art_rl.files import read_json, write_text
from art_rl.report.cost_figure import cost_figure
from art_rl.report.costs import (
    FROM_PROFILE,
    FROM_TABLE,
    NOTE,
    cost_rows,
    reference_evaluations,
    summary,
)
from art_rl.report.figures import save
from art_rl.report.latex import plain_latex
from art_rl.report.tables import plain_markdown, read_rows, write_rows
from art_rl.schedules.profile import Profile


def of_model(paths, model, above):
    """Those of ``paths`` that lie in the model's folder, so many folders above."""
    return [path for path in paths if Path(path).parents[above].name == model]


def shared(given, model, solvers):
    """(method, solver) -> evaluations behind each of its schedules that their own files do not tell."""
    found = {}
    for path in of_model(given.table, model, 0):
        spent = read_rows(path)[0]["evaluations"]
        found |= {(name, solver): spent for name in FROM_TABLE for solver in solvers}
    for path in of_model(given.profile, model, 0):
        spent = int(Profile.load(path).settings["evaluations"])
        found |= {(name, solver): spent for name in FROM_PROFILE for solver in solvers}
    for path in of_model(given.endpoint, model, 3):
        result = read_json(path)
        key = (result["method"], result["solver"])
        found[key] = found.get(key, 0) + reference_evaluations(result)
    return found


def seconds(folder, model):
    """Wall-clock seconds of every job of a model that has a benchmark file."""
    for path in sorted(Path(folder, model).glob("*.tsv")):
        with open(path, encoding="utf-8") as file:
            for line in csv.DictReader(file, delimiter="\t"):
                yield {"model": model, "job": path.stem, "seconds": float(line["s"])}


def main(snakemake):
    given, rows, timings = snakemake.input, [], []
    results = Path(given.cells[0]).parents[2]
    for model in dict.fromkeys(Path(path).parents[1].name for path in given.cells):
        cells = [row for path in of_model(given.cells, model, 1) for row in read_rows(path)]
        provenances = [
            {**read_json(path), "solver": Path(path).name.removesuffix(".provenance.json")}
            for path in of_model(given.provenance, model, 1)
        ]
        solvers = [part["solver"] for part in provenances]
        rows += cost_rows(cells, provenances, shared(given, model, solvers))
        # The pathvar <benchmarks> may say otherwise; then there are no seconds.
        timings += seconds(results / "benchmarks", model)
    out = snakemake.output
    write_rows(out.csv, rows)
    write_rows(out.timings, timings or [{"model": "", "job": "", "seconds": ""}])
    write_text(out.md, plain_markdown(summary(rows), NOTE))
    write_text(out.tex, plain_latex(summary(rows), NOTE))
    save(cost_figure(rows), [out.pdf, out.png])


run(main, snakemake)  # noqa: F821
