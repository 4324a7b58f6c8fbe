"""All methods and budgets of a job's solvers and seeds, measured and kept shard by shard; feeds every table.

A killed job continues after its last finished cell.
"""

from functools import partial
from pathlib import Path

import torch
from rule_job import model_of, one, run, schedule_key
from tqdm import tqdm

from art_rl.files import digest, sha256_file, write_json
from art_rl.registry import method as method_of
from art_rl.sampling.cells import cell_file, check_schedule, measure_seeds, values_of
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.measures import Files
from art_rl.sampling.png import PngShard
from art_rl.sampling.shards import shard_seeds
from art_rl.schedules.schedule import Schedule
from art_rl.settings.sampling import CellSampling


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    inputs, params, output = snakemake.input, snakemake.params, Path(snakemake.output.parts)
    sampling = CellSampling(**params.sampling)
    experiment = build_experiment(*model_of(snakemake), sampling=sampling)
    measures = experiment.measures(Files(one(inputs.features), None, inputs.reference))
    schedules = {schedule_key(path): Schedule.load(path) for path in inputs.schedules}
    for schedule in schedules.values():
        check_schedule(schedule, experiment)
    key = [
        [sha256_file(path) for path in inputs.reference],
        digest([sha256_file(path) for path in inputs.numerics]),
        params.model.get("speed", {}),
        sampling.batch,
    ]
    cells = []
    todo = [(*cell, *s) for *cell, blocks in params.cells for s in params.shards if s[0] < blocks]
    for solver, method, K, block, shard in tqdm(todo, desc="cells"):
        schedule = schedules[method, method_of(method).schedule_solver(solver), K]
        seeds = shard_seeds(sampling.samples, sampling.shard, block, shard)
        cell = {"solver": solver, "method": method, "K": K, "block": block}
        measure = partial(
            measure_seeds, experiment, schedule, solver, seeds, measures, sampling.batch
        )
        if experiment.block:  # the shard is a whole block: its numbers are all there is to keep
            part = measure()
            values = values_of(part, measures)
            cells.append({**cell, "nfe": part.nfe, "samples": len(part.seeds), "values": values})
            continue
        preview = params.preview if block == shard == 0 else 0
        folder, own_key = output.with_suffix(".cells"), [*key, preview]
        path = cell_file(folder, experiment, schedule, solver, seeds, measures, own_key)
        images = None
        if sampling.png:
            images = PngShard(output.parents[2] / f"png/{solver}/{method}_K{K}", seeds)
            images.clear()
        if not path.exists() or (images and not images.holds(path.stem)):
            measure(preview, watch=images and images.add).save(path)
            if images:
                images.publish(path.stem)
        cells.append({**cell, "file": path.name})
    features = [each.digest for each in measures]
    write_json(output, {"features": features, "cells": cells})


run(main, snakemake)  # noqa: F821
