"""Fine reference endpoints of one shard of seeds, shared by all cells; feeds every RMSE."""

from image_job import device_of, image_experiment
from rule_job import run

from art_rl.files import write_json
from art_rl.flow.reference import reference_solution
from art_rl.flow.seeds import latents
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.image_cells import reference_grid, shard_seeds
from art_rl.sampling.shards import reference_shard

# Seeds on which the reference's own error is measured by step doubling.
CHECKED = 32


def main(snakemake):
    experiment = image_experiment(snakemake, build_experiment)
    sampling, wildcards = snakemake.params.model["sampling"], snakemake.wildcards
    steps, device = sampling["reference_steps"], device_of(snakemake)
    seeds = shard_seeds(
        sampling["samples"], sampling["shard"], int(wildcards.block), int(wildcards.shard)
    )
    grid = reference_grid(steps, experiment.sigma_max, experiment.sigma_min)
    reference_shard(
        snakemake.output.endpoints,
        experiment.denoiser,
        grid,
        seeds,
        solver="rk4",
        batch_size=sampling["batch"],
        device=device,
    )
    error = None
    if wildcards.block == wildcards.shard == "0":
        part = seeds[:CHECKED]
        x = latents(part, experiment.denoiser.shape, device).double() * experiment.sigma_max
        error = reference_solution(
            experiment.denoiser,
            x,
            experiment.sigma_max,
            steps=steps,
            sigma_min=experiment.sigma_min,
            check=len(part),
        ).error
    write_json(
        snakemake.output.facts,
        {"solver": "rk4", "steps": steps, "error": error, "model": experiment.denoiser.digest},
    )


run(main, snakemake)  # noqa: F821
