"""Fine reference endpoints of a job's seeds, and what the other measures say of them; feeds every RMSE."""

from pathlib import Path

import numpy as np
import torch
from rule_job import model_of, one, run

from art_rl.files import write_json, write_npz
from art_rl.sampling.cells import REFERENCE_SOLVER, reference_error, reference_shard, values_of
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.measures import ExactW2, Files
from art_rl.sampling.shards import shard_seeds
from art_rl.settings.sampling import CellSampling


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    params, output = snakemake.params, Path(snakemake.output.endpoints)
    sampling = CellSampling(**params.sampling)
    experiment = build_experiment(*model_of(snakemake), sampling=sampling)
    measures = experiment.measures(Files(features=one(snakemake.input.features)))
    measures = [measure for measure in measures if not measure.to_reference]
    seeds, ends, cells, error = [], [], [], None
    for block, shard in params.shards:
        own = shard_seeds(sampling.samples, sampling.shard, block, shard)
        first = block == shard == 0
        preview = params.preview if first and experiment.block is None else 0
        part, end = reference_shard(
            experiment, own, sampling.reference_steps, measures, sampling.batch, preview
        )
        seeds.append(part.seeds)
        ends.append(end)
        if first:
            error = reference_error(experiment, own, sampling.reference_steps)
        if experiment.block:  # the shard is a whole block
            cells.append({"block": block, "values": values_of(part, measures)})
        else:
            file = output.with_suffix(".cells") / f"block{block}_{shard}.npz"
            part.save(file)
            cells.append({"block": block, "file": file.name})
    write_npz(output, seeds=np.concatenate(seeds), images=np.concatenate(ends))
    write_json(
        snakemake.output.facts,
        {
            "solver": REFERENCE_SOLVER,
            "steps": sampling.reference_steps,
            "error": error,
            "model": experiment.denoiser.digest,
            "seeds": [sampling.seed, sampling.samples],
            "floors": {
                measure.metric: measure.floor(sampling.samples, sampling.seed + 10_000)
                for measure in measures
                if isinstance(measure, ExactW2)
            },
            "cells": cells,
        },
    )


run(main, snakemake)  # noqa: F821
