"""Objectives on one fine grid: closed form, per-trajectory bound, clocks, and lists of K steps.

All are the ART objective int |Q| theta^2 dt without its multiplier, averaged over the *held-out*
trajectories of a table, with |Q| integrated exactly on the table's lattice:

    closed form            (int sqrt(mean |Q|) dsigma)^2 / T       best time-only clock
    per-trajectory bound   mean (int sqrt|Q| dsigma)^2 / T         best clock for each trajectory
    clock                  sum_k theta_k int_k |Q| dsigma          theta constant between its levels
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.learning.lattice import Lattice
from art_rl.learning.table import TableEnvironment
from art_rl.schedules.steps import StepCost, optimal_steps

# Steps on which a learned or closed-form clock is evaluated.
GRID_STEPS = 1024


def held_out_q(table: TableEnvironment) -> Tensor:
    """|Q| of the held-out trajectories at the nodes, (B, nodes)."""
    return table.q[table.learning :]


def sqrt_integral(table: TableEnvironment, q: Tensor) -> Tensor:
    """int_0^sigma sqrt(q) at the nodes, (..., nodes): trapezoid of |Q| per cell, as the costs are."""
    return table.lattice.integral(torch.sqrt((q[..., 1:] + q[..., :-1]) / 2))


def closed_form_objective(table: TableEnvironment) -> float:
    """(int sqrt(mean |Q|))^2 / T."""
    return float(sqrt_integral(table, held_out_q(table).mean(0))[-1] ** 2 / table.lattice.sigma_max)


def per_trajectory_bound(table: TableEnvironment) -> float:
    """mean of (int sqrt|Q|)^2 / T."""
    total = sqrt_integral(table, held_out_q(table))[:, -1]
    return float((total**2).mean() / table.lattice.sigma_max)


def clock_objective(table: TableEnvironment, levels: np.ndarray) -> float:
    """Objective of the clock that takes equal times between ``levels`` (descending, to 0)."""
    mean_q = held_out_q(table).mean(0)
    integral = table.lattice.integral((mean_q[1:] + mean_q[:-1]) / 2)
    sigma = torch.as_tensor(np.ascontiguousarray(levels), dtype=torch.float64)
    distance = -sigma.diff()
    spent = -table.lattice.evaluate(integral, sigma).diff()
    return float((distance * spent).sum() * (len(levels) - 1) / table.lattice.sigma_max)


def step_costs(lattice: Lattice, q: Tensor, levels: Tensor) -> Tensor:
    """Terms (K / T) h_k int_k q dsigma of J_K (`schedules.steps`), theta held over each step.

    Args:
        q: (nodes,) |Q|, averaged over trajectories; its integral is exact per cell (trapezoid).
        levels: (N, K + 1) descending to 0.

    Returns:
        (N, K).
    """
    integral = lattice.integral((q[1:] + q[:-1]) / 2)
    spent = -lattice.evaluate(integral, levels).diff(dim=1)
    return -levels.diff(dim=1) * spent * ((levels.shape[1] - 1) / lattice.sigma_max)


def step_optimum(table: TableEnvironment, K: int) -> tuple[np.ndarray, float]:
    """(K + 1,) levels of the least J_K on the held-out trajectories, and that J_K."""
    q = held_out_q(table).mean(0)
    cost = StepCost.from_cells(table.lattice.nodes.numpy(), ((q[1:] + q[:-1]) / 2).numpy())
    levels = optimal_steps(cost, [K])[K]
    return levels, cost(levels)


# Criterion of a learner of K steps: J_K within this share of the optimum.
STEPS_CRITERION = 0.005


def judge_steps(
    table: TableEnvironment, levels: np.ndarray, criterion: float = STEPS_CRITERION
) -> dict[str, Any]:
    """A learned list against the exact K-step optimum, both on the held-out trajectories."""
    objective = clock_objective(table, levels)
    _, optimum = step_optimum(table, len(levels) - 1)
    found = {"objective": objective, "optimum": optimum}
    return {**found, **against_optimum(objective / optimum, criterion)}


def against_optimum(ratio: float, criterion: float) -> dict[str, Any]:
    """What a report says of an objective that is ``ratio`` times its optimum: at most 1 + criterion?"""
    converged = bool(ratio <= 1 + criterion)
    said = "converged" if converged else "not converged"
    return {"ratio": ratio, "criterion": criterion, "converged": converged, "verdict": said}


def verdict(report: Mapping[str, Any]) -> str:
    """What learning did to its start, in words.

    A measured endpoint error is known to the error of the solution it is measured against, no better: a
    start or a gain below that says nothing.
    """
    if not report["improved"]:
        return "not improved over its start"
    start, blur = report["merit_start"], report.get("reference_error") or 0.0
    if start <= blur or start - report["merit_learned"] <= blur:
        return "within the reference's error"
    return "improved"
