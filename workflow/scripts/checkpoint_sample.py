"""One shard of seeds with one solver, all methods and budgets, to Inception moments; feeds Table 2."""

from pathlib import Path

import torch
from rule_job import run, schedule_key
from tqdm import tqdm

from art_rl.files import digest, sha256_file, write_json
from art_rl.metrics.features import inception_features
from art_rl.sampling.experiment import fast_network
from art_rl.sampling.image_cells import check_schedule, measure_cells, shard_seeds
from art_rl.sampling.png import PngShard
from art_rl.schedules.schedule import Schedule


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
    inception = inception_features(snakemake.input.inception, device)
    key = [speed, digest([sha256_file(path) for path in snakemake.input.numerics])]

    def measure(cell, features):
        """(file of the cell, whether it was there already)."""
        ((_, path, part),) = measure_cells(
            denoiser,
            {cell: schedules[cell]},
            wildcards.solver,
            seeds,
            features,
            sampling["batch"],
            preview=snakemake.params.preview if block == shard == 0 else 0,
            folder=output.with_suffix(".cells"),
            key=key,
            device=device,
            progress=False,
        )
        return path, part is None

    def measure_and_export(cell):
        """`measure`, and the images as PNG files."""
        folder = output.parents[2] / "png" / wildcards.solver
        images = PngShard(folder / "{}_K{}".format(*cell), seeds)
        path, kept = measure(cell, images.watch(inception))
        if kept and not images.holds(path.stem):  # measured before PNG files were asked for
            path.unlink()
            path, kept = measure(cell, images.watch(inception))
        if not kept:
            images.publish(path.stem)
        return path

    cells = []
    for cell in tqdm(schedules, desc=f"cells {wildcards.solver}"):
        path = measure_and_export(cell) if sampling.get("png") else measure(cell, inception)[0]
        cells.append([*cell, path.name])
    write_json(
        output,
        {
            "seeds": [seeds[0], seeds[-1]],
            "inception": sha256_file(snakemake.input.inception),
            "cells": cells,
        },
    )


run(main, snakemake)  # noqa: F821
