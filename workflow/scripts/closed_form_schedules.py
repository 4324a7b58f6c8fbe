"""Closed-form ART schedules of one model at every budget, from its |Q| profile; feeds every table."""

from rule_job import run, schedule_key

from art_rl.profile import Profile
from art_rl.quadrature import quadrature_schedule
from art_rl.solvers import ORDERS


def main(snakemake):
    profile = Profile.load(snakemake.input.profile)
    for path in snakemake.output:
        method, solver, K = schedule_key(path)
        order = ORDERS[solver] if method == "quadrature_order" else 1
        quadrature_schedule(
            profile,
            K,
            order=order,
            propagated=method == "propagated",
            model=snakemake.wildcards.model,
        ).save(path)


run(main, snakemake)  # noqa: F821
