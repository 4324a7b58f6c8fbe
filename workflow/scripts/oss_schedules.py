"""Optimal-stepsize schedules of one model at every budget; feeds its row in every table."""

import numpy as np
from rule_job import model_of, run, schedule_key

from art_rl.flow.rivals.measure import teacher_lattice
from art_rl.flow.rivals.oss import oss_schedules
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.rivals import RivalSettings


def main(snakemake):
    settings = RivalSettings(**snakemake.params.rivals)
    experiment = build_experiment(*model_of(snakemake))
    n, seed = settings.trajectories, settings.seed
    count = settings.oss_levels
    levels = teacher_lattice(experiment.sigma_max, experiment.sigma_min, count)
    paths = {schedule_key(path)[2]: path for path in snakemake.output}
    schedules = oss_schedules(
        experiment.denoiser,
        experiment.draw(n, seed),
        np.append(levels[:-1], 0.0),
        list(paths),
        class_labels=experiment.labels(n, seed),
        model=experiment.name,
    )
    for K, schedule in schedules.items():
        schedule.save(paths[K])


run(main, snakemake)  # noqa: F821
