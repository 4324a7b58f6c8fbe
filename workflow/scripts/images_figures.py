"""All figures of one image model, PDF and PNG; feeds the report and docs/images.md."""

from pathlib import Path

from network_figures import learning_curves, sampled_cells, save_figures, thetas
from rule_job import run, schedule_key

from art_rl.files import read_json, read_npz
from art_rl.registry import METHODS, ORDERS
from art_rl.report.figures import SOLVER_NAMES, schedule_figure, theta_figure
from art_rl.report.image_figures import (
    learning_curves_figure,
    loss_figure,
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
    "arctan",
    "gaussian",
    "quadrature",
    "endpoint",
    "art_rl_feedback",
    "art_rl_endpoint",
)
SAMPLED = ("uniform", "dpm", "edm", "arctan", "gaussian", "quadrature", "art_rl_endpoint")
# Budgets of the sample figures, from the smallest to the largest.
BUDGETS = 4


def main(snakemake):
    rows = [row for path in snakemake.input.cells for row in read_rows(path)]
    solvers = sorted({row["solver"] for row in rows}, key=ORDERS.get)
    present = {row["method"] for row in rows}
    drawn = [name for name in METHODS if name in DRAWN and name in present]
    budgets = snakemake.params.budgets
    tables = [row for row in rows if row["K"] in budgets]
    floors = read_json(snakemake.input.provenance[0])["floors"]["fid"]
    profile = Profile.load(snakemake.input.profile)

    figures = {
        "fid_nfe": lambda: nfe_figure(tables, solvers, "fid", drawn, floors),
        "rmse_nfe": lambda: nfe_figure(tables, solvers, "rmse", drawn),
        "profile": lambda: network_profile_figure(profile),
        "loss": lambda: loss_figure(read_json(snakemake.input.losses)),
    }

    def schedules():
        paths = {}
        for path in snakemake.input.schedules:
            method, solver, K = schedule_key(path)
            # Schedules made for one solver are drawn for the highest order among the solvers.
            if method in drawn and solver in ("any", solvers[-1]):
                paths[method, K] = path
        shown = {5, 10} & {K for _, K in paths} or {max(budgets)}
        levels = {key: Schedule.load(path).sigmas for key, path in paths.items() if key[1] in shown}
        figure = schedule_figure(levels, drawn, profile.sigma_min)
        figure.suptitle(f"schedules for {SOLVER_NAMES[solvers[-1]]}", fontsize=8)
        return figure

    figures["schedules"] = schedules

    figures["learning"] = lambda: learning_curves_figure(*learning_curves(snakemake.input))
    figures["theta"] = lambda: theta_figure(
        thetas(snakemake.input.thetas), read_rows(snakemake.input.optimum)
    )

    for path in snakemake.input.previews:
        solver = Path(path).stem.removesuffix("_previews")

        def samples(solver=solver, path=path):
            methods, common, nfe = sampled_cells(tables, solver, SAMPLED)
            return sample_figure(read_npz(path), methods, spread(common, BUDGETS), nfe, solver)

        figures[f"samples_{solver}"] = samples

    save_figures(figures, snakemake.output, snakemake.wildcards.model)


run(main, snakemake)  # noqa: F821
