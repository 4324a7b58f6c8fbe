"""|Q| along exact trajectories on a fine lattice: the environment of every learner of a model."""

from rule_job import run

from art_rl.control import TableEnvironment
from art_rl.control.trust import trusted_table
from art_rl.experiments import build_experiment


def main(snakemake):
    settings = dict(snakemake.params.control)
    sizes = {key: settings[key] for key in ("cells",) if key in settings}
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.get("network")
    )
    table = TableEnvironment.from_denoiser(
        experiment.denoiser,
        experiment.draw(settings["trajectories"], settings["seed"]),
        experiment.sigma_max,
        experiment.sigma_min,
        model=experiment.name,
        **sizes,
    )
    if snakemake.params.model["kind"] == "image":
        table = trusted_table(table)
    table.save(snakemake.output.table)


run(main, snakemake)  # noqa: F821
