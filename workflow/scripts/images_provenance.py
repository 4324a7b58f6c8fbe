"""Where the committed numbers of an image model come from, in one file beside them."""

import csv
from pathlib import Path

from rule_job import run

from art_rl.files import read_json, write_json


def seconds(path):
    """Wall seconds and CPU seconds of one job, from Snakemake's benchmark file."""
    with open(path, newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file, delimiter="\t"))

    def number(text):
        try:
            return float(text)
        except (TypeError, ValueError):
            return None

    return {"wall": number(row.get("s")), "cpu": number(row.get("cpu_time"))}


def main(snakemake):
    cells = [read_json(path) for path in snakemake.input.provenance]
    losses = read_json(snakemake.input.losses)
    model = Path(snakemake.input.network).parent
    folder = model.parent / "benchmarks" / model.name
    write_json(
        snakemake.output[0],
        {
            "versions": cells[0]["versions"],
            "model": cells[0]["model"],
            "losses": {key: losses[key] for key in ("sigma", "by_sigma", "images")},
            "features": cells[0]["features"],
            "reference": cells[0]["reference"],
            "fid_reference": cells[0]["fid_reference"],
            "learning": {path: read_json(path)["report"] for path in snakemake.input.reports},
            "schedules": [schedule for cell in cells for schedule in cell["schedules"]],
            "seconds": {path.stem: seconds(path) for path in sorted(folder.glob("*.tsv"))},
        },
    )


run(main, snakemake)  # noqa: F821
