"""Learn the schedules of one solver on the measured endpoint error; feeds every table."""

from rule_job import learn_seeds

from art_rl.learning import EndpointError, learn_budgets
from art_rl.learning.result import BudgetsResult
from art_rl.registry import DECOUPLED, ORDERS
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.closed_form import node_density
from art_rl.schedules.profile import Profile
from art_rl.settings.learners import EndpointRun
from art_rl.settings.measuring import Control


def main(snakemake):
    job, control = snakemake.params.job, Control(**snakemake.params.control)
    profile_path, *network = snakemake.input.learned_from
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, *network[:1], rollouts=True
    )
    states, labels = experiment.halves(control.states, control.seed)

    def reward(settings):
        return EndpointError(
            experiment.denoiser,
            *states,
            experiment.sigma_max,
            experiment.sigma_min,
            job["solver"],
            labels=labels,
            batch_rows=settings.batch_rows,
            reference_steps=settings.reference_steps,
            model=experiment.name,
        )

    profile = Profile.load(profile_path)
    densities = {"quadrature": node_density(profile)}
    densities["propagated"] = node_density(profile, propagated=True)
    order = ORDERS[job["solver"]]
    if order > 1:
        densities["quadrature_order"] = node_density(profile, order)

    def learn(settings, metrics, state):
        return learn_budgets(
            reward(settings),
            job["budgets"],
            settings,
            job["writes"] or "art_rl_endpoint",
            densities=densities,
            metrics_path=metrics,
            state_path=state,
            decoupled=job["writes"] == DECOUPLED,
        )

    learn_seeds(snakemake, EndpointRun, learn, BudgetsResult.schedule)
