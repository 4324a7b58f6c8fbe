"""Schedules of rivals that need statistics of the model only; feeds their rows in every table."""

from rule_job import run, schedule_key

from art_rl.schedules.rivals.dmn import dmn_schedule
from art_rl.schedules.rivals.makers import FROM_STATISTICS
from art_rl.schedules.rivals.statistics import RivalStatistics


def main(snakemake):
    statistics = RivalStatistics.load(snakemake.input.statistics)
    name, model = snakemake.wildcards.model, snakemake.params.model
    for path in snakemake.output:
        method, _, K = schedule_key(path)
        if method == "dmn":
            schedule = dmn_schedule(K, model["sigma_max"], model["sigma_min"], model=name)
        else:
            schedule = FROM_STATISTICS[method](statistics, K, model=name)
        schedule.save(path)


run(main, snakemake)  # noqa: F821
