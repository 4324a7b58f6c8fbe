"""Gauss-Newton on the measured endpoint error of every solver, at every budget; feeds every table."""

from rule_job import model_of, run, schedule_key

from art_rl.learning.gauss_newton import gauss_newton_schedules
from art_rl.registry import ORDERS
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.profile import Profile
from art_rl.settings.measuring import Control


def main(snakemake):
    control = Control(**snakemake.params.control)
    given = snakemake.input
    experiment = build_experiment(*model_of(snakemake), rollouts=True)
    # The states the learner of the same error learns and chooses on.
    states, labels = experiment.halves(control.states, control.seed)
    profile = Profile.load(given.profile)
    span = experiment.sigma_max, experiment.sigma_min
    sigma_data = experiment.denoiser.sigma_data
    paths = {schedule_key(path)[1:]: path for path in snakemake.output}
    for solver in dict.fromkeys(solver for solver, _ in paths):
        orders = sorted({1, ORDERS[solver]} & set(profile.mean))
        starts = {
            K: {
                "gaussian": baseline_schedule("gaussian", K, *span, sigma_data),
                **{f"quadrature, order {p}": quadrature_schedule(profile, K, p) for p in orders},
            }
            for name, K in paths
            if name == solver
        }
        found = gauss_newton_schedules(
            experiment.denoiser, *states, *span, solver, starts, labels, experiment.name
        )
        for K, schedule in found.items():
            schedule.save(paths[solver, K])


run(main, snakemake)  # noqa: F821
