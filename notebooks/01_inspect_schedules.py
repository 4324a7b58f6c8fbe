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
# # What is in a schedule?
#
# A schedule is a list of noise levels: the sampler starts at `sigma_max`, visits every level, and ends at exactly 0.
# This notebook opens the schedules and tables that `make run` has written and says what to look at. It reads files and
# computes nothing heavy; run `make run` first.

# %%
import csv
import os
import sys
from pathlib import Path

# The workflow sets these; by hand, run from the repository or its notebooks/ folder.
HERE = Path.cwd()
ROOT = HERE if (HERE / "notebooks").exists() else HERE.parent
sys.path.insert(0, os.environ.get("ART_RL_SOURCE", str(ROOT / "src")))
RESULTS = Path(os.environ.get("ART_RL_RESULTS", ROOT / "results"))
FIGURES = Path(os.environ.get("ART_RL_FIGURES", ROOT / "paper_figures" / "exact"))

# %%
import matplotlib.pyplot as plt
import numpy as np

from art_rl.registry import METHODS
from art_rl.schedules.schedule import Schedule

# %% [markdown]
# ## One file
#
# Every schedule is a small JSON file. Loading checks it: strictly decreasing, finite, last level 0. The provenance says
# how it was made, for which model and for which solver ("any" if for all).

# %%
model = sorted(path.name for path in RESULTS.iterdir() if (path / "schedules").is_dir())[0]
files = sorted((RESULTS / model / "schedules").glob("*/*/K*.json"))
schedules = {(f.parts[-3], f.parts[-2], int(f.stem[1:])): Schedule.load(f) for f in files}
print(f"{model}: {len(schedules)} schedules")

K = 5 if any(key[2] == 5 for key in schedules) else max(key[2] for key in schedules)
# The Gaussian schedule if there is one, else any.
example = schedules.get(("gaussian", "any", K)) or next(
    schedule for (_, _, budget), schedule in schedules.items() if budget == K
)
print("levels:", [f"{level:.4g}" for level in example.sigmas])
print("method:", example.method, "| solver:", example.provenance.get("solver", "any"))

# %% [markdown]
# ## All methods at one budget
#
# Look at how many levels lie above the standard deviation of the data (the first few steps) and how the last steps approach
# 0. Uniform spends nearly everything at high noise. EDM and DPM spend a whole step on the way from `sigma_min` to 0. The
# closed forms and the learned schedules put their levels where trajectories bend.

# %%
fig, ax = plt.subplots(figsize=(7, 4))
for (method, solver, budget), schedule in schedules.items():
    if budget == K and solver in ("any", "euler"):
        learned = METHODS[method].group == "ART-RL"
        ax.plot(
            range(K + 1),
            np.maximum(schedule.sigmas, 1e-3),
            marker="o",
            ms=3,
            lw=2 if learned else 1,
            ls="-" if METHODS[method].group != "Hand-made" else "--",
            label=METHODS[method].label,
        )
ax.set_yscale("log")
ax.set_xlabel("step k")
ax.set_ylabel("noise level (data units; 0 drawn at 0.001)")
ax.set_title(f"{model}, K = {K}")
ax.legend(fontsize=7, ncols=2)
plt.show()

# %% [markdown]
# ## Does it matter?
#
# The table of endpoint errors: the distance between each sample and the exact solution from the same noise, averaged
# over seed blocks. Ratios to EDM are easier to read than the numbers.

# %%
tables = [*sorted(FIGURES.glob(f"*{model}_euler_rmse.csv")), *sorted(FIGURES.glob("*_rmse.csv"))]
rows = []
if tables:
    with open(tables[0], newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
budgets = sorted({int(row["K"]) for row in rows})
error = {(row["method"], int(row["K"])): float(row["mean"]) for row in rows}
methods = list(dict.fromkeys(row["method"] for row in rows))
versus = "edm" if "edm" in methods else next(iter(methods), None)
if versus is None:
    print("no table of endpoint errors in this run")
else:
    print(f"{tables[0].stem}: RMSE / RMSE of {METHODS[versus].label}")
    print(f"{'':28s}" + "".join(f"K = {b:<6d}" for b in budgets))
for method in methods:
    ratios = [error[method, b] / error[versus, b] for b in budgets]
    print(f"{METHODS[method].label:28s}" + "".join(f"{ratio:<10.3f}" for ratio in ratios))

# %% [markdown]
# ## Taking one with you
#
# The list of levels is all a sampler needs; `docs/using_a_schedule.md` shows it in ten lines. A schedule made for K steps
# can be resampled to another number of steps, at some cost: compare with the one made for it.

# %%
half = example.resample(max(1, K // 2))
print("resampled:", [f"{level:.4g}" for level in half.sigmas])
