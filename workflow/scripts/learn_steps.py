"""Learn the schedules of every budget on ART's cost of K steps, from the table of trajectories alone."""

from rule_job import learn_seeds

from art_rl.learning import HeldCost, TableEnvironment, learn_budgets
from art_rl.learning.result import BudgetsResult
from art_rl.settings.learners import NaturalSettings


def main(snakemake):
    table = TableEnvironment.load(snakemake.input.learned_from[0])
    budgets = snakemake.params.job["budgets"]

    def learn(settings, metrics, state):
        return learn_budgets(
            HeldCost(table), budgets, settings, metrics_path=metrics, state_path=state
        )

    learn_seeds(snakemake, NaturalSettings, learn, BudgetsResult.schedule)
