"""The learned clocks' speed theta(t) of one model; the paper's theta figure."""

from rule_job import run

from art_rl.plots import save, theta_figure
from art_rl.tables import read_rows


def main(snakemake):
    clocks = {
        name: read_rows(path)
        for name, path in zip(snakemake.params.learners, snakemake.input.clocks, strict=True)
    }
    save(theta_figure(clocks, read_rows(snakemake.input.optimum)), snakemake.output)


run(main, snakemake)  # noqa: F821
