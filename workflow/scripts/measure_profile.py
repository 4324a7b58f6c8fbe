"""|Q|, its higher relatives and the flow's sensitivity of one model; feeds all closed forms."""

import math

import numpy as np
from rule_job import model_of, run

from art_rl.flow.measure_profile import measure_profile
from art_rl.report.tables import column_rows, write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.measuring import Profile


def curves(profile, dim):
    """The profile as rows for the figure, beside what Gaussian data of the same spread would give."""
    c, sigma = profile.sigma_data, profile.levels
    # E |z| of a standard normal vector z in ``dim`` dimensions.
    length = math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))
    low, high = np.quantile(profile.table.astype(np.float64), [0.05, 0.95], axis=0)
    return column_rows(
        {
            "sigma": sigma,
            "q": profile.mean[1],
            "q_error": profile.standard_error[1],
            "q_low": low,
            "q_high": high,
            "gaussian": length * c**2 * (c**2 + sigma**2) ** -1.5,
            "sensitivity": profile.sensitivity,
            "sensitivity_error": profile.sensitivity_error,
            "gaussian_sensitivity": c / np.sqrt(c**2 + sigma**2),
        }
    )


def main(snakemake):
    settings = Profile(**snakemake.params.profile)
    experiment = build_experiment(*model_of(snakemake))
    profile = measure_profile(
        **experiment.drawn(settings.trajectories, settings.seed),
        estimator=settings.estimator,
        levels=settings.levels,
        sensitivity_levels=settings.sensitivity_levels,
        sensitivity_samples=settings.sensitivity_samples,
    )
    profile.save(snakemake.output.profile)
    write_rows(snakemake.output.csv, curves(profile, math.prod(experiment.denoiser.shape)))


run(main, snakemake)  # noqa: F821
