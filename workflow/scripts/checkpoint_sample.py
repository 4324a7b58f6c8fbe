"""One shard of seeds with one solver, all methods and budgets, to Inception moments; feeds Table 2."""

from pathlib import Path

import torch
from rule_job import run, schedule_key

from art_rl.experiments import fast_network
from art_rl.files import digest, sha256_file, write_json
from art_rl.image_evaluation import check_schedule, measure_cells, shard_seeds
from art_rl.metrics.features import inception_features
from art_rl.schedule import Schedule


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    model, wildcards = snakemake.params.model, snakemake.wildcards
    sampling, speed = model["sampling"], model.get("speed", {})
    block, shard = int(wildcards.block), int(wildcards.shard)
    device = sampling["device"]
    denoiser = fast_network(snakemake.input.network, device, speed)
    schedules = {}
    for path in snakemake.input.schedules:
        method, _, K = schedule_key(path)
        schedules[method, K] = Schedule.load(path)
        check_schedule(schedules[method, K], model["sigma_max"], denoiser.digest)
    seeds = shard_seeds(sampling["samples"], sampling["shard"], block, shard)
    output = Path(snakemake.output.parts)
    cells = measure_cells(
        denoiser,
        schedules,
        wildcards.solver,
        seeds,
        inception_features(snakemake.input.inception, device),
        sampling["batch"],
        preview=snakemake.params.preview if block == shard == 0 else 0,
        folder=output.with_suffix(".cells"),
        key=[speed, digest([sha256_file(path) for path in snakemake.input.numerics])],
        device=device,
    )
    write_json(
        output,
        {
            "seeds": [seeds[0], seeds[-1]],
            "inception": sha256_file(snakemake.input.inception),
            "cells": [[method, K, path.name] for (method, K), path, _ in cells],
        },
    )


run(main, snakemake)  # noqa: F821
