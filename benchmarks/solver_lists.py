"""Every solver on hand-made and on learned lists of a 1-D mixture: the table of docs/solvers.md.

    python benchmarks/solver_lists.py [--budgets 4 5 6 8 10] [--train 1024] [--fresh 4096]

Target and noise range of gmm1d_edm (config/config.yaml).  The learned list is Gauss-Newton's on the
endpoint error of that solver and K (`art_rl.learning.gauss_newton`), from four hand-made starts; RMSE on
fresh noise against the fine solution, which is itself exact to 1e-5.  Below it the adaptive solver.
"""

import argparse

import torch
import yaml

from art_rl.denoisers import GaussianMixture
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import solve
from art_rl.flow.solvers.adaptive import adaptive_points
from art_rl.learning.gauss_newton import refine_schedule
from art_rl.registry import SOLVERS
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

LISTS = ("edm_no_sigma_min", "gaussian", "arctan", "dpm_no_sigma_min", "edm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=[4, 5, 6, 8, 10])
    parser.add_argument("--train", type=int, default=1024)
    parser.add_argument("--fresh", type=int, default=4096)
    options = parser.parse_args()
    with open("config/config.yaml", encoding="utf-8") as file:
        settings = yaml.safe_load(file)["models"]["gmm1d_edm"]
    target = {key: value for key, value in settings["target"].items() if key != "kind"}
    model, high, low = GaussianMixture(**target), settings["sigma_max"], settings["sigma_min"]

    def states(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = high * torch.randn(count, 1, dtype=torch.float64, generator=generator)
        return x, reference_solution(model, x, high, steps=128, check=0).end

    train, fresh = states(options.train, 0), states(options.fresh, 1)

    def rmse(schedule: Schedule, solver: str) -> float:
        return float((solve(model, fresh[0], schedule, solver) - fresh[1]).square().mean().sqrt())

    print("| solver |", " | ".join(f"K = {K}" for K in options.budgets), "|")
    print("|---|" + "---|" * len(options.budgets))
    for solver, entry in SOLVERS.items():
        cells = []
        for K in options.budgets:
            data = float(model.sigma_data)
            grids = [baseline_schedule(name, K, high, low, data) for name in LISTS]
            errors = [rmse(grid, solver) for grid in grids]
            learned = rmse(refine_schedule(model, *train, grids[:4], solver), solver)
            cells.append(f"{errors[-1]:.3f} / {min(errors):.4f} / **{learned:.4f}**")
        print(f"| {entry.label} |", " | ".join(cells), "|", flush=True)
    print(
        "\n| rtol = atol | NFE | steps, the last one Euler | rejected | RMSE |\n|---|---|---|---|---|"
    )
    for row in adaptive_points(model, *fresh, high, low):
        print(
            f"| {row['rtol']:g} | {row['nfe']} | {row['steps']} | {row['rejected']} "
            f"| {row['rmse']:.4f} |"
        )


if __name__ == "__main__":
    main()
