"""|Q| along trajectories of one model, and the flow's sensitivity."""

from rule_job import run

from art_rl.report.figures import profile_figure, save
from art_rl.report.tables import read_rows


def main(snakemake):
    save(profile_figure(read_rows(snakemake.input.profile)), snakemake.output)


run(main, snakemake)  # noqa: F821
