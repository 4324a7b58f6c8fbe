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
# # A trained image model and its samples
#
# What the workflow's score network learned, how far its samples are from the data, and what a sampler with few steps makes of
# it. Reads the files that `make run` (digits) or `make mnist` wrote; computes nothing heavy.

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

from art_rl.files import read_json, read_npz
from art_rl.schedules.profile import Profile

# %% [markdown]
# ## The network
#
# A U-Net with EDM preconditioning. Everything about its training is in the JSON beside its weights.

# %%
model = sorted(path.parent.name for path in RESULTS.glob("*/network_losses.json"))[0]
folder = RESULTS / model
network, floor = read_json(folder / "network.json"), read_json(folder / "floor.json")
settings = network["training"]["settings"]
print(f"{model}: {network['parameters']:,} parameters, sigma_data = {network['sigma_data']:.3f}")
print(f"{settings['iterations']} iterations of {settings['batch_size']} images")
print(f"classifier behind LeNet-FID: {floor['lenet_accuracy']:.2%} right on the test set")

# %% [markdown]
# ## Loss against noise level
#
# The EDM loss is weighted so that a network that has learned nothing scores about 1 at every level. Where training and
# held-out images part, the network remembers its data. Levels outside the shaded range are rare in training: what the network
# says there is extrapolation, and so is |Q|.

# %%
losses = read_json(folder / "network_losses.json")
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, label in (("train", "training images"), ("held_out", "held-out images")):
    axis.loglog(losses["sigma"], losses["by_sigma"][name], marker="o", label=label)
axis.axvspan(0.020, 4.5, color="0.93", zorder=0)
axis.set_xlabel("noise level sigma (data units)")
axis.set_ylabel("EDM loss (about 1 if untrained)")
axis.legend()
plt.show()

# %% [markdown]
# ## |Q| along sampling trajectories
#
# |Q| is how much the sampler's path bends. It decides where steps are needed.

# %%
if (folder / "profile.npz").exists():  # a run without closed forms measures none
    profile = Profile.load(folder / "profile.npz")
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    low, high = np.quantile(profile.table, [0.05, 0.95], axis=0)
    axis.fill_between(profile.levels, low, high, alpha=0.25, label="5 % to 95 % of trajectories")
    axis.loglog(profile.levels, profile.mean[1], label="mean")
    axis.set_xlabel("noise level sigma (data units)")
    axis.set_ylabel("|Q| (1 / data units)")
    axis.legend()
    plt.show()

# %% [markdown]
# ## Samples
#
# The same noise in every row: the fine reference solution, and two schedules at few steps.

# %%
solver = sorted(
    path.stem.removesuffix("_previews") for path in (folder / "cells").glob("*_previews.npz")
)[0]
previews = read_npz(folder / "cells" / f"{solver}_previews.npz")
keys = sorted({int(name.rsplit("_K", 1)[1]) for name in previews if "_K" in name})
K = 5 if 5 in keys else keys[-1]
rows = ["reference"] + [
    f"{name}_K{K}" for name in ("edm", "gaussian") if f"{name}_K{K}" in previews
]
figure, axes = plt.subplots(len(rows), 1, figsize=(8, 0.8 * len(rows)), layout="constrained")
for axis, row in zip(np.atleast_1d(axes), rows, strict=True):
    axis.imshow(np.concatenate(list(previews[row][:12, 0]), axis=1), cmap="gray", vmin=0, vmax=255)
    axis.set_ylabel(row.replace("_K", ", K = "), rotation=0, ha="right", va="center")
    axis.set_xticks([])
    axis.set_yticks([])
figure.suptitle(f"{solver}, same noise")
plt.show()

# %% [markdown]
# ## How good can it get?
#
# The FID of the reference solution is the network's own error. No schedule removes it; a coarse sampler can even fall below it by
# luck, which is why every FID stands beside an endpoint RMSE.

# %%
provenance = read_json(folder / "cells" / f"{solver}.provenance.json")
for label, value in provenance["floors"].get("fid", {}).items():
    print(f"{label}: LeNet-FID {value:.2f}")
