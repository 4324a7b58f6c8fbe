"""|Q| along exact trajectories on a fine lattice: the environment of every learner of a model."""

from rule_job import model_of, run

from art_rl.denoisers.base import trained_noise
from art_rl.learning import TableEnvironment
from art_rl.learning.trust import trusted_table
from art_rl.report.tables import write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.closed_form import trained_range
from art_rl.settings.measuring import Control


def main(snakemake):
    settings = Control(**snakemake.params.control)
    experiment = build_experiment(*model_of(snakemake))
    n = settings.trajectories
    table = TableEnvironment.from_denoiser(
        **experiment.drawn(n, settings.seed), model=experiment.name, cells=settings.cells
    )
    if snakemake.params.model["kind"] != "exact":
        table = trusted_table(table, trained_range(*trained_noise(experiment.denoiser)))
    table.save(snakemake.output.table)
    write_rows(snakemake.output.costs, [{"trajectories": n, "evaluations": table.evaluations}])


run(main, snakemake)  # noqa: F821
