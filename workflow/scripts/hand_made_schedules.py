"""Hand-made schedules of one model at every budget; feeds every table."""

from rule_job import run

from art_rl.baselines import baseline_schedule
from art_rl.experiments import build_experiment
from art_rl.schedule import Schedule


def main(snakemake):
    experiment = build_experiment(snakemake.wildcards.model, snakemake.params.model)
    for path in snakemake.output:
        method, budget = path.split("/")[-3], int(path.split("/K")[-1].removesuffix(".json"))
        schedule = baseline_schedule(
            method,
            budget,
            experiment.sigma_max,
            experiment.sigma_min,
            experiment.denoiser.sigma_data,
        )
        facts = {"model": experiment.name, "model_digest": experiment.denoiser.digest}
        Schedule(schedule.sigmas, {**schedule.provenance, **facts}).save(path)


run(main, snakemake)  # noqa: F821
