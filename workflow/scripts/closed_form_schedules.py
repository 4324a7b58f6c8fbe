"""Closed-form ART schedules of one model at every budget, from its |Q| profile; feeds every table."""

from functools import partial

import numpy as np
from rule_job import run, schedule_key

from art_rl.registry import ORDERS
from art_rl.report.tables import column_rows, write_rows
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.profile import Profile
from art_rl.schedules.steps import steps_schedules

CLOCK_STEPS = 512


def of_the_solvers_order(profile, K, model, solver):
    return quadrature_schedule(profile, K, ORDERS[solver], model=model, solver=solver)


# method -> function from (profile, K, model, solver) to a Schedule; quadrature_steps makes all K at once.
MAKERS = {
    "quadrature": quadrature_schedule,
    "quadrature_order": of_the_solvers_order,
    "propagated": partial(quadrature_schedule, propagated=True),
}


def main(snakemake):
    profile = Profile.load(snakemake.input.profile)
    keys = {path: schedule_key(path) for path in snakemake.output if path != snakemake.output.clock}
    model = snakemake.wildcards.model
    budgets = [K for method, _, K in keys.values() if method == "quadrature_steps"]
    steps = steps_schedules(profile, budgets, model=model)
    for path, (method, solver, K) in keys.items():
        if method == "quadrature_steps":
            steps[K].save(path)
            continue
        MAKERS[method](profile, K, model=model, solver=solver).save(path)
    # The optimal clock's speed, on a grid fine enough to draw.
    levels = quadrature_schedule(profile, CLOCK_STEPS).numpy()
    span = profile.sigma_max
    theta = -np.diff(levels) * CLOCK_STEPS / span
    t = (np.arange(CLOCK_STEPS) + 0.5) * span / CLOCK_STEPS
    clock = {"t": t, "sigma": levels[:-1], "theta": theta}
    write_rows(snakemake.output.clock, column_rows(clock))


run(main, snakemake)  # noqa: F821
