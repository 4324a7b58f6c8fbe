"""Whether this machine can hold the run, before anything is downloaded; feeds every fetch."""

from pathlib import Path

from rule_job import run

from art_rl.files import write_json
from art_rl.plan import check_machine, make_plan


def main(snakemake):
    plan = make_plan(dict(snakemake.params.settings))
    folder = Path(snakemake.output[0]).parent
    write_json(snakemake.output[0], {"needs": plan["needs"], "has": check_machine(plan, folder)})


run(main, snakemake)  # noqa: F821
