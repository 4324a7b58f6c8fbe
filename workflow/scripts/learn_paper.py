"""Learn the schedules of every budget by the papers' Algorithm 1, from the table of trajectories alone."""

from rule_job import learn_seeds

from art_rl.learning import TableEnvironment, learn_paper
from art_rl.learning.result import BudgetsResult
from art_rl.settings.learners import PaperSettings


def main(snakemake):
    table = TableEnvironment.load(snakemake.input.learned_from[0])
    budgets = snakemake.params.job["budgets"]

    def learn(settings, metrics, state):
        return learn_paper(table, budgets, settings, metrics_path=metrics, state_path=state)

    learn_seeds(snakemake, PaperSettings, learn, BudgetsResult.schedule)
