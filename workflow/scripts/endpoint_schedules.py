"""Convex endpoint schedules of every solver at every budget; feeds every table."""

from pathlib import Path

from rule_job import run, schedule_key

from art_rl.schedules.endpoint import endpoint_schedule
from art_rl.schedules.error_moments import ErrorMoments


def main(snakemake):
    moments = {Path(path).stem: ErrorMoments.load(path) for path in snakemake.input.moments}
    for path in snakemake.output:
        _, solver, K = schedule_key(path)
        endpoint_schedule(moments[solver], K, model=snakemake.wildcards.model).save(path)


run(main, snakemake)  # noqa: F821
