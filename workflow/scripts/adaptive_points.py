"""Calls and endpoint error of the adaptive solver per tolerance; feeds the figure of the frontier."""

from rule_job import model_of, run

from art_rl.denoisers.base import is_exact
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers.adaptive import adaptive_points
from art_rl.report.tables import write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.rivals import RivalSettings


def main(snakemake):
    settings = RivalSettings(**snakemake.params.rivals)
    experiment = build_experiment(*model_of(snakemake))
    # One batch, as a sampler of images has it: every state takes the same steps.
    n = min(settings.trajectories, settings.batch_size)
    x, labels = experiment.draw(n, settings.seed), experiment.labels(n, settings.seed)
    fine = {"steps": 128} if is_exact(experiment.denoiser) else {"steps": 48, "solver": "heun"}
    denoiser, high, low = experiment.denoiser, experiment.sigma_max, experiment.sigma_min
    end = reference_solution(denoiser, x, high, labels, sigma_min=low, check=0, **fine).end
    points = adaptive_points(denoiser, x, end, high, low, labels)
    write_rows(snakemake.output.points, [{"model": experiment.name, **row} for row in points])


run(main, snakemake)  # noqa: F821
