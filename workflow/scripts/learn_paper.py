"""Learn the schedules of every budget by the papers' Algorithm 1, from the table of trajectories alone."""

import shutil

from rule_job import resumable, save_schedules

from art_rl.learning import TableEnvironment, learn_paper
from art_rl.settings.learners import PaperSettings


def main(snakemake):
    job = snakemake.params.job
    table = TableEnvironment.load(snakemake.input.learned_from[0])
    with resumable(snakemake) as state:
        result = learn_paper(
            table,
            job["budgets"],
            PaperSettings.from_dict({**snakemake.params.settings, "seed": job["seed"]}),
            metrics_path=state / "metrics.jsonl",
            state_path=state / "state.safetensors",
        )
        shutil.copyfile(state / "metrics.jsonl", snakemake.output.metrics)
        result.save(snakemake.output.tensors)
        save_schedules(snakemake, result.schedule)
