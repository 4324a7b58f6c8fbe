"""The learned clocks' speed theta(t) of one model; the paper's theta figure."""

from rule_job import run

from art_rl.report.figures import save, theta_figure
from art_rl.report.tables import read_rows


def main(snakemake):
    clocks = {
        label: read_rows(path)
        for label, path in zip(snakemake.params.labels, snakemake.input.clocks, strict=True)
    }
    save(theta_figure(clocks, read_rows(snakemake.input.optimum)), snakemake.output)


run(main, snakemake)  # noqa: F821
