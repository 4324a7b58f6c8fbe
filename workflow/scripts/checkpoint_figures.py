"""All figures of one checkpoint, PDF and PNG: FID, schedules, |Q|, learning, samples; feeds Table 2."""

from pathlib import Path

from rule_job import run, schedule_key

from art_rl.files import read_json, read_json_lines, read_npz
from art_rl.image_plots import (
    learning_curves_figure,
    network_profile_figure,
    nfe_figure,
    sample_figure,
    spread,
)
from art_rl.methods import METHODS
from art_rl.plots import save, schedule_figure, theta_figure
from art_rl.profile_data import Profile
from art_rl.schedule import Schedule
from art_rl.tables import read_rows

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

    def learning():
        clocks = {
            Path(path).parent.parent.name: [
                r for r in read_json_lines(path) if r["ratio"] is not None
            ]
            for path in snakemake.input.clocks
        }
        endpoint = {
            Path(path).parent.parent.name.rsplit("_", 1)[-1]: read_json_lines(path)
            for path in snakemake.input.endpoint
        }
        criteria = [read_json(path)["report"]["criterion"] for path in snakemake.input.reports]
        return learning_curves_figure(clocks, endpoint, min(criteria, default=None))

    def theta():
        clocks = {Path(p).parent.parent.name: read_rows(p) for p in snakemake.input.thetas}
        return theta_figure(clocks, read_rows(snakemake.input.optimum[0]))

    figures = {
        "fid_nfe": lambda: nfe_figure(rows, solvers, "fid", drawn, label="FID"),
        "schedules": lambda: schedule_figure(
            {key: value for key, value in levels.items() if key[1] in shown}, drawn, sigma_min
        ),
        "profile": lambda: network_profile_figure(Profile.load(snakemake.input.profile[0])),
        "learning": learning,
        "theta": theta,
    }
    for solver, path in zip(solvers, snakemake.input.previews, strict=True):

        def samples(solver=solver, path=path):
            mine = [row for row in rows if row["solver"] == solver]
            methods = [name for name in SAMPLED if any(r["method"] == name for r in mine)]
            common = [
                K
                for K in sorted({row["K"] for row in mine})
                if all(any(r["method"] == n and r["K"] == K for r in mine) for n in methods)
            ]
            nfe = {row["K"]: row["nfe"] for row in mine}
            return sample_figure(
                read_npz(path), methods, spread(common, SAMPLED_BUDGETS), nfe, solver
            )

        figures[f"samples_{solver}"] = samples

    paths = {}
    for path in snakemake.output:
        kind = Path(path).stem.removeprefix(f"{snakemake.wildcards.model}_")
        paths.setdefault(kind, []).append(path)
    for kind, targets in paths.items():
        save(figures[kind](), targets)


run(main, snakemake)  # noqa: F821
