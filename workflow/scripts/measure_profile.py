"""|Q|, its higher relatives and the flow's sensitivity of one model; feeds all closed forms."""

from rule_job import run

from art_rl.experiments import build_experiment
from art_rl.profile import measure_profile


def main(snakemake):
    settings = dict(snakemake.params.profile)
    experiment = build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.get("network")
    )
    start = experiment.draw(settings.pop("trajectories"), settings.pop("seed"))
    profile = measure_profile(
        experiment.denoiser,
        start,
        experiment.sigma_max,
        experiment.sigma_min,
        progress=False,
        **settings,
    )
    profile.save(snakemake.output.profile)


run(main, snakemake)  # noqa: F821
