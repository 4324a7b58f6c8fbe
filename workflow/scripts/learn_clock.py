"""Learn one fine clock by actor-critic; its schedules of every budget, theta(t), and learning curves."""

import shutil

from rule_job import resumable, save_schedules

from art_rl.learning import LearnerConfig, TableEnvironment, distill, train
from art_rl.report.tables import write_rows


def main(snakemake):
    job = snakemake.params.job
    config = LearnerConfig.from_dict({**snakemake.params.settings, "seed": job["seed"]})
    with resumable(snakemake) as state:
        result = train(
            TableEnvironment.load(snakemake.input.learned_from[0]),
            config,
            metrics_path=state / "metrics.jsonl",
            state_path=state / "state.safetensors",
        )
        shutil.copyfile(state / "metrics.jsonl", snakemake.output.metrics)
        result.save(snakemake.output.tensors)
        columns = {"sigma": result.levels[:-1], **result.theta_band()}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        write_rows(snakemake.output.theta, [dict(zip(columns, row, strict=True)) for row in rows])
        save_schedules(snakemake, lambda K: distill(result, K))
