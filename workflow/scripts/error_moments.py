"""Second moments of the propagated local errors of every solver; feeds the endpoint schedules."""

from pathlib import Path

from rule_job import model_of, run

from art_rl.flow.measure_errors import measure_error_moments
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.measuring import Endpoint


def main(snakemake):
    settings = Endpoint(**snakemake.params.endpoint)
    experiment = build_experiment(*model_of(snakemake))
    drawn = experiment.drawn(settings.trajectories, settings.seed)
    for path in snakemake.output:
        moments = measure_error_moments(**drawn, solver=Path(path).stem, nodes=settings.nodes)
        moments.save(path)


run(main, snakemake)  # noqa: F821
