"""Second moments of one solver's own propagated local errors; feeds the endpoint schedules."""

from rule_job import run

from art_rl.flow.measure_errors import measure_error_moments
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.measuring import Endpoint


def main(snakemake):
    settings = Endpoint(**snakemake.params.endpoint)
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.get("network")
    )
    n, seed = settings.trajectories, settings.seed
    measure_error_moments(
        experiment.denoiser,
        experiment.draw(n, seed),
        experiment.sigma_max,
        experiment.sigma_min,
        snakemake.wildcards.solver,
        class_labels=experiment.labels(n, seed),
        nodes=settings.nodes,
    ).save(snakemake.output.moments)


run(main, snakemake)  # noqa: F821
