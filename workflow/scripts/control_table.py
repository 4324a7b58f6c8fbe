"""|Q| along exact trajectories on a fine lattice: the environment of every learner of a model."""

from rule_job import run

from art_rl.control import TableEnvironment
from art_rl.experiments import build_experiment


def main(snakemake):
    settings = snakemake.params.control
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.get("network")
    )
    TableEnvironment.from_denoiser(
        experiment.denoiser,
        experiment.draw(settings["trajectories"], settings["seed"]),
        experiment.sigma_max,
        experiment.sigma_min,
        model=experiment.name,
    ).save(snakemake.output.table)


run(main, snakemake)  # noqa: F821
