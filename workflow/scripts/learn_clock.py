"""Learn a fine clock by actor-critic; its schedules of every budget, theta(t), and learning curves."""

from rule_job import learn_seeds

from art_rl.learning import LearnerConfig, TableEnvironment, distill, train
from art_rl.report.tables import column_rows, write_rows


def main(snakemake):
    table = TableEnvironment.load(snakemake.input.learned_from[0])

    def learn(config, metrics, state):
        return train(table, config, metrics_path=metrics, state_path=state)

    results = learn_seeds(snakemake, LearnerConfig, learn, distill)
    for result, path in zip(results, snakemake.output.theta, strict=True):
        write_rows(path, column_rows({"sigma": result.levels[:-1], **result.theta_band()}))
