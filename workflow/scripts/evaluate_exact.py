"""Cells of one exact model with one solver; feeds Table 1 and the error figure."""

import torch
from rule_job import run

from art_rl.files import digest, read_json, read_npz, write_json
from art_rl.records import versions
from art_rl.report.tables import write_rows
from art_rl.sampling.exact_cells import Block, evaluate_cells
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.schedule import Schedule


def main(snakemake):
    experiment = build_experiment(snakemake.wildcards.model, snakemake.params.model)
    arrays = read_npz(snakemake.input.blocks)
    blocks = [
        Block(torch.from_numpy(arrays[f"start_{b}"]), torch.from_numpy(arrays[f"end_{b}"]))
        for b in range(len(arrays) // 2)
    ]
    schedules = [Schedule.load(path) for path in snakemake.input.schedules]
    rows = evaluate_cells(experiment, blocks, schedules, snakemake.wildcards.solver)
    write_rows(snakemake.output.cells, rows)
    write_json(
        snakemake.output.provenance,
        {
            "versions": versions(),
            "model": snakemake.params.model,
            "seed_blocks": read_json(snakemake.input.facts),
            "schedules": [
                {
                    "method": schedule.provenance["method"],
                    "K": schedule.K,
                    "sigmas_sha256": digest(list(schedule.sigmas)),
                    "provenance": dict(schedule.provenance),
                }
                for schedule in schedules
            ],
        },
    )


run(main, snakemake)  # noqa: F821
