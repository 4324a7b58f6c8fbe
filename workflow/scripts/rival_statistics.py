"""What rival schedules measure of one model; feeds their rows in every table."""

from rule_job import model_of, run

from art_rl.flow.rivals.measure import measure_rival_statistics
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.rivals import RivalSettings


def main(snakemake):
    settings = RivalSettings(**snakemake.params.rivals)
    experiment = build_experiment(*model_of(snakemake))
    measure_rival_statistics(
        **experiment.drawn(settings.trajectories, settings.seed),
        levels=settings.levels,
        teacher_levels=settings.teacher_levels,
        paths=settings.paths,
        seed=settings.seed,
        batch_size=settings.batch_size,
    ).save(snakemake.output.statistics)


run(main, snakemake)  # noqa: F821
