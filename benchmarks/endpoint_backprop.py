"""ART-RL's endpoint reward against back-propagation through the sampler, on a mixture no default was set on.

    python benchmarks/endpoint_backprop.py [--seeds 0 1 2] [--solvers euler heun rk4] [--budgets 4 6 10]

The yardstick: L-BFGS on the mean squared endpoint error of the solver, differentiated through all its
steps (reverse mode, float64), over the shares of log(1 + sigma / sigma_min) that the K steps take; from
every start density of the learner and perturbed copies of them.  It sees the same learning states as
ART-RL.  Both lists are then measured on fresh states.  ART-RL calls the denoiser forward only.

Writes the table as benchmarks/results/endpoint_backprop.json and .md (``--out`` a stem of another place).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from art_rl.denoisers import GaussianMixture
from art_rl.files import write_text
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import nfe, run_levels
from art_rl.learning import EndpointError, learn_budgets
from art_rl.learning.budgets import start_densities
from art_rl.registry import SOLVERS
from art_rl.schedules.hand_made import grid_from_density
from art_rl.settings.learners import EndpointRun

SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
PRIVATE = GaussianMixture(
    [0.3, 0.15, 0.25, 0.2, 0.1],
    [[-0.9, 0.4], [0.1, -0.8], [0.7, 0.6], [0.2, 0.1], [-0.3, -1.2]],
    [0.12, 0.45, 0.3, 0.08, 0.2],
)
OUT = Path(__file__).parent / "results" / "endpoint_backprop"


def states(count: int, seed: int) -> Tensor:
    """(count, 2) states at sigma_max."""
    generator = torch.Generator().manual_seed(seed)
    return SIGMA_MAX * torch.randn(count, 2, dtype=torch.float64, generator=generator)


def squared_error(x: Tensor, end: Tensor, levels: Tensor, solver: str) -> Tensor:
    """Mean squared endpoint error of ``levels`` (K + 1,), differentiable in them."""
    for state in run_levels(PRIVATE, x, levels, solver):
        x = state
    return (x - end).square().mean()


def levels_of(shares: Tensor) -> Tensor:
    """(K + 1,) levels from the logits of K shares of log(1 + sigma / sigma_min)."""
    tau = np.log1p(SIGMA_MAX / SIGMA_MIN) * (1 - torch.softmax(shares, 0).cumsum(0))
    inner = SIGMA_MIN * torch.expm1(tau[:-1])
    ends = torch.tensor([SIGMA_MAX, 0.0], dtype=torch.float64)
    return torch.cat([ends[:1], inner, ends[1:]])


def back_propagation(
    x: Tensor, end: Tensor, solver: str, K: int, perturbed: int
) -> tuple[Tensor, int]:
    """(levels (K + 1,) of least training error, gradients taken) over all starts."""
    spent = 0

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal spent
        spent += 1
        shares = torch.tensor(values, requires_grad=True)
        levels = levels_of(shares)
        if not (levels[1:] < levels[:-1]).all():
            return 1e6, np.zeros_like(values)
        loss = squared_error(x, end, levels, solver).log()
        loss.backward()
        if not torch.isfinite(loss):
            return 1e6, np.zeros_like(values)
        return float(loss.detach()), shares.grad.numpy()

    generator = np.random.default_rng(0)
    begin = []
    for density in start_densities(PRIVATE.sigma_data, SIGMA_MIN).values():
        grid = grid_from_density(density, K, SIGMA_MAX)
        begin.append(np.log(-np.diff(np.log1p(grid / SIGMA_MIN))))
    begin += [one + 0.3 * generator.standard_normal(K) for one in begin * perturbed]
    runs = [
        minimize(objective, one, jac=True, method="L-BFGS-B", options={"maxiter": 300})
        for one in begin
    ]
    best = min(runs, key=lambda run: run.fun)
    return levels_of(torch.tensor(best.x)), spent


def _table(rows: list[dict]) -> str:
    """One line a cell; evaluations in millions."""
    lines = [
        "| solver | K | back-propagation | evaluations | ART-RL over it, by seed | evaluations |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        yardstick, learned = row["back_propagation"], row["art_rl"]
        ratios = ", ".join(f"{one['ratio']:.3f}" for one in learned)
        most = max(one["evaluations"] for one in learned)
        lines.append(
            f"| {SOLVERS[row['solver']].label} | {row['K']} | {yardstick['rmse']:.5f} "
            f"| {yardstick['evaluations'] / 1e6:.1f} | {ratios} | {most / 1e6:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--solvers", nargs="+", default=["euler", "heun", "rk4"], choices=SOLVERS)
    parser.add_argument("--budgets", type=int, nargs="+", default=[4, 6, 10])
    parser.add_argument("--states", type=int, default=2048)
    parser.add_argument("--perturbed", type=int, default=2, help="perturbed copies of every start")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the learner, as JSON")
    parser.add_argument("--yardstick", type=Path, help="take it from an earlier result (.json)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    n = options.states
    train, valid, fresh = states(n, 0), states(n, 1), states(16384, 2)
    x_end, fresh_end = (
        reference_solution(PRIVATE, x, SIGMA_MAX, steps=128, sigma_min=SIGMA_MIN, check=0).end
        for x in (train, fresh)
    )

    def rmse(levels: Tensor, solver: str) -> float:
        return float(squared_error(fresh, fresh_end, levels, solver).sqrt())

    rows = []
    earlier = json.loads(options.yardstick.read_text(encoding="utf-8")) if options.yardstick else []
    known = {(row["solver"], row["K"]): row["back_propagation"] for row in earlier}
    for solver in options.solvers:
        yardstick = {K: known[solver, K] for K in options.budgets if (solver, K) in known}
        for K in options.budgets:
            if K in yardstick:
                continue
            began = time.process_time()
            levels, gradients = back_propagation(train, x_end, solver, K, options.perturbed)
            yardstick[K] = {
                "rmse": rmse(levels, solver),
                "levels": levels.tolist(),
                "evaluations": 3 * gradients * n * nfe(solver, K),
                "cpu": time.process_time() - began,
            }
        learned = {K: [] for K in options.budgets}
        for seed in options.seeds:
            reward = EndpointError(PRIVATE, train, valid, SIGMA_MAX, SIGMA_MIN, solver)
            settings = EndpointRun.from_dict({**options.settings, "seed": seed})
            began = time.process_time()
            result = learn_budgets(reward, options.budgets, settings)
            print(solver, "seed", seed, f"{time.process_time() - began:.1f} CPU s", flush=True)
            for K in options.budgets:
                report = result.report["budgets"][str(K)]
                value = rmse(result.levels[K], solver)
                learned[K].append(
                    {
                        "rmse": value,
                        "ratio": value / yardstick[K]["rmse"],
                        "evaluations": report["evaluations"],
                        "start": report["start"],
                    }
                )
        for K in options.budgets:
            rows.append(
                {"solver": solver, "K": K, "back_propagation": yardstick[K], "art_rl": learned[K]}
            )
            print(
                solver,
                K,
                f"{yardstick[K]['rmse']:.5f}",
                [round(one["ratio"], 4) for one in learned[K]],
                [f"{one['evaluations'] / 1e6:.2f}M" for one in learned[K]],
                [one["start"] for one in learned[K]],
                flush=True,
            )
    write_text(options.out.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    write_text(options.out.with_suffix(".md"), _table(rows))


if __name__ == "__main__":
    main()
