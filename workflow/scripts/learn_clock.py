"""Learn one fine clock by actor-critic; feeds the schedules of all budgets and three figures."""

import shutil

from rule_job import resumable, run

from art_rl.learning import LearnerConfig, TableEnvironment, distill, train
from art_rl.report.tables import write_rows


def main(snakemake):
    seed = int(snakemake.wildcards.seed)
    config = LearnerConfig.from_dict({**snakemake.params.settings, "seed": seed})
    with resumable(snakemake) as state:
        result = train(
            TableEnvironment.load(snakemake.input.table),
            config,
            metrics_path=state / "metrics.jsonl",
            checkpoint_path=state / "checkpoint.safetensors",
        )
        shutil.copyfile(state / "metrics.jsonl", snakemake.output.metrics)
        result.save(snakemake.output.tensors)
        distill(result, len(result.theta)).save(snakemake.output.clock)
        columns = {"sigma": result.levels[:-1], **result.theta_band()}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        write_rows(snakemake.output.theta, [dict(zip(columns, row, strict=True)) for row in rows])


run(main, snakemake)  # noqa: F821
