"""Hand-made schedules of one model at every budget; feeds every table."""

from rule_job import model_of, run, schedule_key

from art_rl.files import digest
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.hand_made import baseline_schedule


def main(snakemake):
    experiment = build_experiment(*model_of(snakemake))
    facts = {
        "model": experiment.name,
        "model_digest": experiment.denoiser.digest,
        "config_digest": digest(snakemake.params.model),
    }
    span = experiment.sigma_max, experiment.sigma_min, experiment.denoiser.sigma_data
    for path in snakemake.output:
        method, _, K = schedule_key(path)
        baseline_schedule(method, K, *span).with_provenance(**facts).save(path)


run(main, snakemake)  # noqa: F821
