"""Second moments of the propagated local errors of every solver; feeds the endpoint schedules."""

from pathlib import Path

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
    states, labels = experiment.draw(n, seed), experiment.labels(n, seed)
    for path in snakemake.output:
        measure_error_moments(
            experiment.denoiser,
            states,
            experiment.sigma_max,
            experiment.sigma_min,
            Path(path).stem,
            class_labels=labels,
            nodes=settings.nodes,
        ).save(path)


run(main, snakemake)  # noqa: F821
