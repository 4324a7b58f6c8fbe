# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Schedules compared on a trained image model
#
# Which schedule to use at which number of steps? All cells share their noise, so differences between schedules are paired.
# Reads the cells that `make run` (digits) or `make mnist` wrote.

# %%
import os
import sys
from pathlib import Path

# The workflow sets these; by hand, run from the repository or its notebooks/ folder.
HERE = Path.cwd()
ROOT = HERE if (HERE / "notebooks").exists() else HERE.parent
sys.path.insert(0, os.environ.get("ART_RL_SOURCE", str(ROOT / "src")))
RESULTS = Path(os.environ.get("ART_RL_RESULTS", ROOT / "results"))

# %%
import matplotlib.pyplot as plt
import numpy as np

from art_rl.registry import HAND_MADE, LEARNED, METHODS
from art_rl.report.comparison import compare
from art_rl.report.tables import read_rows
from art_rl.schedules.schedule import Schedule

# %%
model = sorted(path.parent.name for path in RESULTS.glob("*/network_losses.json"))[0]
cells = [
    row for path in sorted((RESULTS / model / "cells").glob("*.csv")) for row in read_rows(path)
]
solvers = sorted({row["solver"] for row in cells})
methods = [name for name in METHODS if any(row["method"] == name for row in cells)]
print(f"{model}: {len(cells)} cells of {cells[0]['samples']} images")


def mean(metric, solver, method, K):
    """Mean over seed blocks, nan if there is no such cell."""
    runs = [
        row[metric]
        for row in cells
        if (row["solver"], row["method"], row["K"]) == (solver, method, K)
    ]
    return np.mean(runs) if runs else np.nan


# %% [markdown]
# ## Ratios to EDM
#
# Below 1: better than EDM's schedule at the same number of network calls. Endpoint RMSE first: it isolates what a schedule is
# responsible for. LeNet-FID also contains the network's own error.

# %%
versus = "edm" if "edm" in methods else methods[0]
for metric in ("rmse", "fid"):
    for solver in solvers:
        budgets = sorted({row["K"] for row in cells if row["solver"] == solver})
        print(
            f"{metric} / {METHODS[versus].label}, {solver}"
            + "".join(f"{f'K={K}':>9}" for K in budgets)
        )
        for name in methods:
            ratios = [
                mean(metric, solver, name, K) / mean(metric, solver, versus, K) for K in budgets
            ]
            print(f"{METHODS[name].label:<32}" + "".join(f"{ratio:9.3f}" for ratio in ratios))
        print()

# %% [markdown]
# ## Does learning pay?
#
# ART-RL's best form at each budget against every hand-made schedule.

# %%
learned = [name for name in methods if METHODS[name].group == LEARNED]
hand_made = [name for name in methods if METHODS[name].group == HAND_MADE]
for metric in ("rmse", "fid"):
    outcomes = [row["outcome"] for row in compare(cells, learned, hand_made, metric)]
    counts = {outcome: outcomes.count(outcome) for outcome in ("win", "tie", "loss")}
    print(
        f"{metric}: {counts}" if learned else f"{metric}: no learned schedule in this configuration"
    )

# %% [markdown]
# ## Where the steps go
#
# The share of steps spent above each noise level. EDM and DPM spend most of theirs below 0.1, where images hardly change any more.

# %%
solver = solvers[-1]
budgets = sorted({row["K"] for row in cells if row["solver"] == solver})
K = max((K for K in budgets if K <= 10), default=budgets[0])
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name in methods:
    path = (
        RESULTS / model / "schedules" / name / METHODS[name].schedule_solver(solver) / f"K{K}.json"
    )
    if path.exists():
        sigmas = Schedule.load(path).numpy()
        axis.step(
            np.maximum(sigmas, 1e-3),
            np.arange(len(sigmas)) / K,
            where="post",
            label=METHODS[name].label,
        )
axis.set_xscale("log")
axis.invert_xaxis()
axis.set_xlabel("noise level sigma (data units)")
axis.set_ylabel(f"share of {K} steps done")
axis.legend(fontsize=6)
plt.show()
