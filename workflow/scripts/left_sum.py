"""Algorithm 1 on its literal left-end sum and on the held cost, three steps; feeds a figure."""

from rule_job import model_of, run

from art_rl.flow.solvers import solve
from art_rl.learning import TableEnvironment
from art_rl.learning.evaluate import step_optimum
from art_rl.learning.left_sum import STEPS, costs, landscape, learning_path
from art_rl.report.tables import column_rows, write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule
from art_rl.settings.learners import PaperSettings

STATES, SEED, REFERENCE_STEPS = 4096, 7, 128


def main(snakemake):
    table = TableEnvironment.load(snakemake.input.table)
    experiment = build_experiment(*model_of(snakemake))
    span = experiment.sigma_max, experiment.sigma_min, experiment.denoiser.sigma_data
    settings = PaperSettings.from_dict({"seed": 0})
    paths = {
        "held": learning_path(table, STEPS, settings, left_sum=False),
        "left": learning_path(table, STEPS, settings, left_sum=True),
    }
    best, _ = step_optimum(table, STEPS)
    lists = {"start": paths["held"][0], "optimum": best}
    lists |= {name: path[-1] for name, path in paths.items()}

    x = experiment.draw(STATES, SEED)
    fine = baseline_schedule("gaussian", REFERENCE_STEPS, *span)
    reference = solve(experiment.denoiser, x, fine, "rk4")

    def rmse(levels):
        end = solve(experiment.denoiser, x, Schedule(tuple(levels.tolist()), {}), "euler")
        return float((end - reference).square().mean().sqrt())

    rows = []
    for name, levels in lists.items():
        held, left = costs(table, levels)
        own = {f"sigma_{k}": float(level) for k, level in enumerate(levels)}
        rows.append({"list": name, **own, "left_sum": left, "held": held, "rmse": rmse(levels)})
    write_rows(snakemake.output.lists, rows)
    write_rows(
        snakemake.output.learning,
        [
            {"learned_on": name, "iteration": i, "held": held, "left_sum": left}
            for name, path in paths.items()
            for i, (held, left) in enumerate(costs(table, levels) for levels in path)
        ],
    )
    found = landscape(table)
    columns = {"sigma_1": found.first, "held": found.held, "left_sum": found.left}
    write_rows(snakemake.output.landscape, column_rows(columns))


run(main, snakemake)  # noqa: F821
