"""Convex endpoint schedules of every solver and budget of one model; feeds every table."""

from rule_job import run, schedule_key

from art_rl.endpoint import ErrorMoments, endpoint_schedule


def main(snakemake):
    moments = {m.solver: m for m in map(ErrorMoments.load, snakemake.input.moments)}
    for path in snakemake.output:
        _, solver, K = schedule_key(path)
        endpoint_schedule(moments[solver], K, model=snakemake.wildcards.model).save(path)


run(main, snakemake)  # noqa: F821
