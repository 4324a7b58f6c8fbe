"""All figures of one checkpoint, PDF and PNG: FID, schedules, |Q|, learning, samples; feeds Table 2."""

from network_figures import learning_curves, sampled_cells, save_figures, thetas
from rule_job import run, schedule_key

from art_rl.files import read_npz
from art_rl.registry import METHODS
from art_rl.report.figures import schedule_figure, theta_figure
from art_rl.report.image_figures import (
    learning_curves_figure,
    network_profile_figure,
    nfe_figure,
    sample_figure,
    spread,
)
from art_rl.report.tables import read_rows
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule

# Drawn if a table has them: more lines than this cannot be told apart.
DRAWN = (
    "uniform",
    "dpm",
    "edm",
    "gaussian",
    "quadrature",
    "endpoint",
    "art_rl_paper",
    "art_rl_feedback",
    "art_rl_endpoint",
    "transfer_budget",
    "transfer_data",
)
SAMPLED = ("uniform", "dpm", "edm", "quadrature", "art_rl_paper", "transfer_data")
# Budgets of the schedule figure (at most so many, the smallest) and of the sample figures.
BUDGETS, SAMPLED_BUDGETS = 6, 4


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    present = {row["method"] for row in rows}
    drawn = [name for name in METHODS if name in DRAWN and name in present]
    levels = {}
    for path in snakemake.input.schedules:
        method, solver, K = schedule_key(path)
        if method in drawn and solver in ("any", solvers[0]):
            levels[method, K] = Schedule.load(path).sigmas
    own = [row for row in rows if row["solver"] == solvers[0]]
    budgets = sorted({row["K"] for row in own if len({r["method"] for r in own}) > 1})
    shown = budgets[:BUDGETS]
    sigma_min = min(level for sigmas in levels.values() for level in sigmas if level > 0)

    figures = {
        "fid_nfe": lambda: nfe_figure(rows, solvers, "fid", drawn, label="FID"),
        "schedules": lambda: schedule_figure(
            {key: value for key, value in levels.items() if key[1] in shown}, drawn, sigma_min
        ),
        "profile": lambda: network_profile_figure(Profile.load(snakemake.input.profile[0])),
        "learning": lambda: learning_curves_figure(*learning_curves(snakemake.input)),
        "theta": lambda: theta_figure(
            thetas(snakemake.input.thetas), read_rows(snakemake.input.optimum[0])
        ),
    }
    for solver, path in zip(solvers, snakemake.input.previews, strict=True):

        def samples(solver=solver, path=path):
            methods, common, nfe = sampled_cells(rows, solver, SAMPLED)
            return sample_figure(
                read_npz(path), methods, spread(common, SAMPLED_BUDGETS), nfe, solver
            )

        figures[f"samples_{solver}"] = samples

    save_figures(figures, snakemake.output, snakemake.wildcards.model)


run(main, snakemake)  # noqa: F821
