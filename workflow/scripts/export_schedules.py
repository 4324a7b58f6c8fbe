"""Schedules copied beside the figures, checked by reading them; feeds docs and Table 6."""

from rule_job import run

from art_rl.schedules.schedule import Schedule


def main(snakemake):
    for source, target in zip(snakemake.input, snakemake.output, strict=True):
        Schedule.load(source).save(target)


run(main, snakemake)  # noqa: F821
