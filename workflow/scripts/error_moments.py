"""Second moments of one solver's own propagated local errors; feeds the endpoint schedules."""

from rule_job import run

from art_rl.flow.measure_errors import measure_error_moments
from art_rl.sampling.experiment import build_experiment


def main(snakemake):
    settings = dict(snakemake.params.endpoint)
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.get("network")
    )
    n, seed = settings.pop("trajectories"), settings.pop("seed")
    measure_error_moments(
        experiment.denoiser,
        experiment.draw(n, seed),
        experiment.sigma_max,
        experiment.sigma_min,
        snakemake.wildcards.solver,
        class_labels=experiment.labels(n, seed),
        **settings,
    ).save(snakemake.output.moments)


run(main, snakemake)  # noqa: F821
