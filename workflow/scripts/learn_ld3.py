"""LD3-style schedules of one model and solver at every budget; feeds their rows in every table."""

from rule_job import model_of, run, schedule_key

from art_rl.learning.ld3 import learn_ld3
from art_rl.report.tables import write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.rivals import LD3Settings


def main(snakemake):
    settings = LD3Settings(**snakemake.params.ld3)
    experiment = build_experiment(*model_of(snakemake))
    drawn = experiment.drawn(settings.train + settings.valid, settings.seed)
    rows, paths = [], {}
    for path in snakemake.output.schedules:
        method, _, K = schedule_key(path)
        paths.setdefault(method, {})[K] = path
    for method, files in paths.items():
        learned = learn_ld3(
            **drawn,
            solver=snakemake.params.solver,
            budgets=list(files),
            settings=settings,
            model=experiment.name,
            method=method,
        )
        for K, (schedule, trace) in learned.items():
            schedule.save(files[K])
            rows += [{"method": method, "K": K, **row} for row in trace]
    write_rows(snakemake.output.trace, rows)


run(main, snakemake)  # noqa: F821
