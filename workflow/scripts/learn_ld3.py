"""LD3-style schedules of one model and solver at every budget; feeds their row in every table."""

from rule_job import model_of, run, schedule_key

from art_rl.learning.ld3 import learn_ld3
from art_rl.report.tables import write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.rivals import LD3Settings


def main(snakemake):
    settings = LD3Settings(**snakemake.params.ld3)
    experiment = build_experiment(*model_of(snakemake))
    paths = {schedule_key(path)[2]: path for path in snakemake.output.schedules}
    learned = learn_ld3(
        **experiment.drawn(settings.train + settings.valid, settings.seed),
        solver=snakemake.params.solver,
        budgets=list(paths),
        settings=settings,
        model=experiment.name,
    )
    rows = []
    for K, (schedule, trace) in learned.items():
        schedule.save(paths[K])
        rows += [{"K": K, **row} for row in trace]
    write_rows(snakemake.output.trace, rows)


run(main, snakemake)  # noqa: F821
