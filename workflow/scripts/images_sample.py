"""One shard of seeds with one solver: all methods and budgets; feeds Table 4 and its siblings."""

from pathlib import Path

from image_job import device_of, image_experiment
from rule_job import run, schedule_key

from art_rl.files import digest, sha256_file
from art_rl.metrics.features import lenet_features
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.image_cells import check_schedule, measure_shard, save_parts, shard_seeds
from art_rl.sampling.shards import Endpoints
from art_rl.schedules.schedule import Schedule


def main(snakemake):
    experiment = image_experiment(snakemake, build_experiment)
    sampling, wildcards = snakemake.params.model["sampling"], snakemake.wildcards
    block, shard = int(wildcards.block), int(wildcards.shard)
    schedules = {}
    for path in snakemake.input.schedules:
        method, _, K = schedule_key(path)
        schedules[method, K] = Schedule.load(path)
        check_schedule(schedules[method, K], experiment.sigma_max, experiment.denoiser.digest)
    output = Path(snakemake.output.parts)
    folder = output.with_suffix(".cells")
    parts = measure_shard(
        experiment.denoiser,
        schedules,
        wildcards.solver,
        shard_seeds(sampling["samples"], sampling["shard"], block, shard),
        lenet_features(snakemake.input.lenet, device_of(snakemake)),
        Endpoints([snakemake.input.endpoints]),
        sampling["batch"],
        preview=snakemake.params.preview if block == shard == 0 else 0,
        folder=folder,
        key=[
            sha256_file(snakemake.input.endpoints),
            digest([sha256_file(path) for path in snakemake.input.numerics]),
        ],
        device=device_of(snakemake),
    )
    save_parts(output, parts)


run(main, snakemake)  # noqa: F821
