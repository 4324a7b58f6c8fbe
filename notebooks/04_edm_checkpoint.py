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
# # From an official checkpoint to pictures
#
# An EDM checkpoint is a Python pickle. The workflow has read it without executing anything in it, learned schedules on it, and sampled the same noise
# under every schedule. This notebook shows what came out. It reads files that `make paper` (or the toy run of
# `config/paper_smoke.yaml`) wrote and computes nothing heavy.

# %%
import os
import sys
from pathlib import Path

# The workflow sets these; by hand, run from the repository or its notebooks/ folder.
HERE = Path.cwd()
ROOT = HERE if (HERE / "notebooks").exists() else HERE.parent
sys.path.insert(0, os.environ.get("ART_RL_SOURCE", str(ROOT / "src")))
RESULTS = Path(os.environ.get("ART_RL_RESULTS", ROOT / "results/paper"))

# %%
import matplotlib.pyplot as plt
import numpy as np

from art_rl.files import read_json, read_npz
from art_rl.registry import METHODS
from art_rl.report.tables import read_rows
from art_rl.schedules.schedule import Schedule

# %% [markdown]
# ## What is in the file
#
# The class of the network, its arguments, the digest of the file they came from, and the weights as safetensors. Nothing else is taken over: the source
# text that the pickle carries is dropped unread.

# %%
CHECKPOINT = "art_rl.network"
found = sorted(RESULTS.glob("*/network.json"))
found = [path for path in found if read_json(path).get("format") == CHECKPOINT]
# The model that schedules were learned on.
found.sort(key=lambda path: -len(list(path.parent.glob("schedules/art_rl*/*/K*.json"))))
folder = found[0].parent
network = read_json(found[0])
print(f"{folder.name}: {network['class']}, read from {network['source']['name']}")
print(f"SHA-256 of that file: {network['source']['sha256'][:16]}...")
for key in ("img_resolution", "label_dim", "model_type", "model_channels", "channel_mult"):
    print(f"  {key:15s} {network['kwargs'].get(key)}")

# %% [markdown]
# ## Three schedules
#
# EDM's, the closed form of ART (node density proportional to the square root of |Q|), and the learned one. Look at where the steps go: EDM spends
# many of them below 0.1, where images hardly change any more, and its last one from `sigma_min` to 0.

# %%
solvers = [path.stem for path in sorted((folder / "cells").glob("*.csv"))]
solver = "heun" if "heun" in solvers else solvers[0]
rows = read_rows(folder / f"cells/{solver}.csv")
order = ["edm", "quadrature", "art_rl_paper", "art_rl_feedback", "dpm", "transfer_data"]
there = list(dict.fromkeys(row["method"] for row in rows))
names = [name for name in (*order, *there) if name in there]
names = list(dict.fromkeys(names))[:3]
by_method = {n: {r["K"] for r in rows if r["method"] == n} for n in names}
while len(names) > 1 and not set.intersection(*(by_method[n] for n in names)):
    names.pop()  # tables of other budgets: fewer rows
budgets = sorted(set.intersection(*(by_method[n] for n in names)))
K = max((k for k in budgets if k <= 5), default=budgets[0])


def schedule(name, K):
    for made_for in ("any", solver):
        path = folder / f"schedules/{name}/{made_for}/K{K}.json"
        if path.exists():
            return Schedule.load(path)
    raise FileNotFoundError(f"no schedule {name} with K = {K}")


fig, ax = plt.subplots(figsize=(6, 3.5))
for name in names:
    levels = np.maximum(schedule(name, K).numpy(), 1e-3)
    ax.plot(levels, marker="o", ms=4, label=METHODS[name].label)
ax.set_yscale("log")
ax.set_xlabel("step k")
ax.set_ylabel("noise level (0 drawn at 0.001)")
ax.set_title(f"{folder.name}, K = {K}")
ax.legend()
plt.show()

# %% [markdown]
# ## The same noise, three schedules
#
# Every column is one seed; its noise and its class come from the official protocol and are the same in all rows. Differences between rows are the
# schedule's doing alone.

# %%
previews = read_npz(folder / f"cells/{solver}_previews.npz")
shown = min(8, len(previews[f"{names[0]}_K{K}"]))
fig, axes = plt.subplots(
    len(names), shown, figsize=(1.1 * shown + 1.5, 1.2 * len(names)), squeeze=False
)
for row, name in enumerate(names):
    for column in range(shown):
        image = np.moveaxis(previews[f"{name}_K{K}"][column], 0, -1)
        axes[row, column].imshow(image, interpolation="nearest")
        axes[row, column].set_xticks([])
        axes[row, column].set_yticks([])
    axes[row, 0].set_ylabel(METHODS[name].label, rotation=0, ha="right", va="center")
nfe = next(r["nfe"] for r in rows if r["K"] == K)
fig.suptitle(f"{solver}, K = {K}: {nfe} network calls per image")
plt.show()

# %% [markdown]
# ## And in numbers
#
# FID against the official reference statistics, one number per block of seeds. The official habit is to report the lowest; the spread between blocks says
# which differences mean something.

# %%
for name in names:
    runs = [row["fid"] for row in rows if row["method"] == name and row["K"] == K]
    spread = np.std(runs, ddof=1) if len(runs) > 1 else 0.0
    print(
        f"{METHODS[name].label:24s} lowest {min(runs):8.2f}   mean {np.mean(runs):8.2f} ± {spread:.2f}"
    )

# %% [markdown]
# ## Doing it by hand
#
#     from art_rl.denoisers.snapshots import convert_snapshot
#     from art_rl.denoisers.edm import load_network
#     from art_rl.sampling.shards import sample_batches
#     from art_rl.schedules.schedule import Schedule
#     from art_rl.flow.seeds import to_uint8
#
#     convert_snapshot("edm-cifar10-32x32-cond-vp.pkl", "network.safetensors", "network.json")
#     denoiser = load_network("network.safetensors", "network.json", device="cuda")
#     schedule = Schedule.load("results/paper/cifar10/schedules/art_rl_paper/any/K5.json")
#     for part, x in sample_batches(denoiser, schedule, "heun", range(64), batch_size=64, device="cuda"):
#         images = to_uint8(x)
