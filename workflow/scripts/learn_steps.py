"""Learn the schedules of every budget on ART's cost of K steps, from the table of trajectories alone."""

import shutil

from rule_job import resumable, save_schedules

from art_rl.learning import HeldCost, TableEnvironment, learn_budgets
from art_rl.settings.learners import NaturalSettings


def main(snakemake):
    job = snakemake.params.job
    reward = HeldCost(TableEnvironment.load(snakemake.input.learned_from[0]))
    with resumable(snakemake) as state:
        result = learn_budgets(
            reward,
            job["budgets"],
            NaturalSettings.from_dict({**snakemake.params.settings, "seed": job["seed"]}),
            "art_rl",
            metrics_path=state / "metrics.jsonl",
            state_path=state / "state.safetensors",
        )
        shutil.copyfile(state / "metrics.jsonl", snakemake.output.metrics)
        result.save(snakemake.output.tensors)
        save_schedules(snakemake, result.schedule)
