"""sigma_k against k of one model; the paper's schedule figure."""

from rule_job import run, schedule_key

from art_rl.report.figures import save, schedule_figure
from art_rl.schedules.schedule import Schedule


def main(snakemake):
    schedules = {}
    for path in snakemake.input.schedules:
        method, _, K = schedule_key(path)
        schedules[method, K] = Schedule.load(path).sigmas
    figure = schedule_figure(
        schedules, snakemake.params.methods, snakemake.params.model["sigma_min"]
    )
    save(figure, snakemake.output)


run(main, snakemake)  # noqa: F821
