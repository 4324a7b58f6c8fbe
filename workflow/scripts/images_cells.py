"""Shards of one image model and solver to its cells; feeds Table 4 and its siblings."""

import numpy as np
from rule_job import run, schedule_key

from art_rl.files import digest, read_json, write_json, write_npz
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import Moments, frechet_between, merge
from art_rl.records import versions
from art_rl.report.tables import write_rows
from art_rl.sampling.image_cells import cell_rows, load_parts
from art_rl.sampling.shards import load_shard
from art_rl.schedules.schedule import Schedule


def main(snakemake):
    import torch

    torch.set_num_threads(snakemake.threads)
    model, solver = snakemake.wildcards.model, snakemake.wildcards.solver
    blocks = snakemake.params.sampling["seed_blocks"]
    schedules = {schedule_key(path): Schedule.load(path) for path in snakemake.input.schedules}
    converged = {
        (method, K): bool(schedule.provenance.get("details", {}).get("converged", True))
        for (method, _, K), schedule in schedules.items()
    }
    parts = [load_parts(path) for path in snakemake.input.parts]
    per_block = len(parts) // blocks
    grouped = [parts[b * per_block : (b + 1) * per_block] for b in range(blocks)]
    train = Moments.load(snakemake.input.train)
    rows = cell_rows(model, solver, grouped, train, converged)
    write_rows(snakemake.output.cells, rows)

    lenet = lenet_features(snakemake.input.lenet)
    reference = []
    for b in range(blocks):
        shards = snakemake.input.endpoints[b * per_block : (b + 1) * per_block]
        images = (torch.from_numpy(load_shard(path)[1]) for path in shards)  # one at a time
        moments = merge(lenet.moments(to_uint8(part.double())) for part in images)
        reference.append(frechet_between(moments, train))
    previews = {f"{m}_K{K}": part.preview for (m, K), part in parts[0].items()}
    count = len(next(iter(previews.values())))
    fine = to_uint8(torch.from_numpy(load_shard(snakemake.input.endpoints[0])[1][:count]).double())
    write_npz(snakemake.output.previews, reference=fine.numpy(), **previews)
    network = read_json(snakemake.input.network_facts)
    floor = read_json(snakemake.input.floor)
    write_json(
        snakemake.output.provenance,
        {
            "versions": versions(),
            "model": {"config": snakemake.params.model, "network": network},
            "features": floor,
            "reference": read_json(snakemake.input.reference_facts[0]),
            "floors": {
                "fid": {
                    "Reference solution, same noise": float(np.mean(reference)),
                    "Test set against training set": floor["fid_test_against_train"],
                }
            },
            "fid_reference": reference,
            "schedules": [
                {
                    "method": schedule.provenance["method"],
                    "K": schedule.K,
                    "sigmas_sha256": digest(list(schedule.sigmas)),
                    "provenance": dict(schedule.provenance),
                }
                for schedule in schedules.values()
            ],
        },
    )


run(main, snakemake)  # noqa: F821
