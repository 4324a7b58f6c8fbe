"""Convex endpoint schedules of one solver at every budget; feeds every table."""

from rule_job import run, schedule_key

from art_rl.schedules.endpoint import endpoint_schedule
from art_rl.schedules.error_moments import ErrorMoments


def main(snakemake):
    moments = ErrorMoments.load(snakemake.input.moments)
    for path in snakemake.output:
        endpoint_schedule(moments, schedule_key(path)[2], model=snakemake.wildcards.model).save(
            path
        )


run(main, snakemake)  # noqa: F821
