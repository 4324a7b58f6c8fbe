"""Figures of image models, in the style of plots.py: errors against NFE, samples, |Q|, losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from art_rl.methods import METHODS
from art_rl.plots import COLUMN, PAGE, SOLVER_NAMES, STYLE, Row, look, plt
from art_rl.profile_data import Profile
from art_rl.quadrature import TRAINED_RANGE, node_density

METRIC_AXES = {"fid": "LeNet-FID", "rmse": "endpoint RMSE (data units)"}
_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"


def _legend_below(figure: Figure, axes: Sequence[Axes], columns: int) -> None:
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def nfe_figure(
    rows: Sequence[Row],
    solvers: Sequence[str],
    metric: str,
    methods: Sequence[str],
    floors: Mapping[str, float] | None = None,
    label: str | None = None,
) -> Figure:
    """One metric against network calls per image, one panel per solver.

    Args:
        rows: tidy cells {method, solver, K, nfe, block, metric}.
        metric: "fid" or "rmse".
        floors: label -> value drawn as grey lines.
        label: of the vertical axis; default: LeNet-FID or endpoint RMSE.
    """
    with plt.rc_context(STYLE):
        width = PAGE if len(solvers) > 1 else COLUMN
        figure, axes = plt.subplots(
            1, len(solvers), figsize=(width, 3.1), squeeze=False, sharey=True, layout="constrained"
        )
        for axis, solver in zip(axes[0], solvers, strict=True):
            own = [row for row in rows if row["solver"] == solver]
            calls = sorted({row["nfe"] for row in own})
            for method in methods:
                points = {}
                for row in own:
                    if row["method"] == method:
                        points.setdefault(row["nfe"], []).append(row[metric])
                if not points:
                    continue
                x = sorted(points)
                mean = np.array([np.mean(points[n]) for n in x])
                sd = np.array([np.std(points[n], ddof=1) if len(points[n]) > 1 else 0 for n in x])
                axis.plot(x, mean, **look(method))
                low = np.maximum(mean - sd, mean * 0.05)
                color = look(method)["color"]
                axis.fill_between(x, low, mean + sd, color=color, alpha=0.15, lw=0)
            for index, (name, value) in enumerate((floors or {}).items()):
                style = [(0, (1, 1)), (0, (4, 2))][index % 2]
                axis.axhline(value, color="0.45", lw=0.8, ls=style, zorder=1, label=name)
            axis.set_yscale("log")
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(calls))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_title(SOLVER_NAMES[solver])
            axis.set_xlabel("network calls per image (NFE)")
        axes[0, 0].set_ylabel(label or METRIC_AXES[metric])
        _legend_below(figure, list(axes[0]), 4 if len(solvers) > 1 else 2)
    return figure


def sample_figure(
    previews: Mapping[str, np.ndarray],
    methods: Sequence[str],
    budgets: Sequence[int],
    nfe: Mapping[int, int],
    solver: str,
    images: int = 4,
) -> Figure:
    """Samples from the same noise: one row per method, one group of images per budget.

    Args:
        previews: "<method>_K<K>" and, if there is one, "reference" -> uint8 (n, 1 or 3, H, W).
        nfe: K -> network calls per image.
        images: images per cell.
    """
    groups = [f"K = {K}\nNFE {nfe[K]}" for K in budgets]
    groups += ["fine\nsolution"] * ("reference" in previews)
    with plt.rc_context(STYLE):
        height = 0.45 + len(methods) * PAGE / (len(groups) * images / 2 + 6) / 1.6
        figure, axes = plt.subplots(
            len(methods), len(groups), figsize=(PAGE, height), squeeze=False, layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.01)
        for row, method in enumerate(methods):
            for column, group in enumerate(groups):
                axis = axes[row, column]
                last = column == len(budgets)
                key = "reference" if last else f"{method}_K{budgets[column]}"
                strip = np.concatenate(list(previews[key][:images]), axis=2)
                strip = np.moveaxis(strip, 0, -1) if len(strip) == 3 else strip[0]
                axis.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.grid(False)
                for side in axis.spines.values():
                    side.set_visible(False)
                if row == 0:
                    axis.set_title(group, fontsize=7)
                if column == 0:
                    axis.set_ylabel(
                        METHODS[method].label.replace(" (", "\n("),
                        rotation=0,
                        ha="right",
                        va="center",
                        fontsize=7,
                    )
        figure.suptitle(f"{SOLVER_NAMES[solver]}, same noise in every cell", fontsize=8)
    return figure


def network_profile_figure(profile: Profile) -> Figure:
    """|Q| of a trained network against sigma, what closed forms use of it, and the sensitivity."""
    sigma, mean = profile.levels, profile.mean[1]
    low, high = np.quantile(profile.table.astype(np.float64), [0.05, 0.95], axis=0)
    used = node_density(profile)(sigma) ** 2
    c = profile.sigma_data
    gaussian = (c**2 + sigma**2) ** -1.5
    middle = np.argmin(np.abs(sigma - c))
    gaussian *= mean[middle] / gaussian[middle]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.9), layout="constrained")
        left.fill_between(
            sigma, low, high, color=_BLUE, alpha=0.2, lw=0, label="5 % to 95 % of trajectories"
        )
        left.plot(sigma, mean, color=_BLUE, label="mean |Q|, measured")
        left.plot(sigma, used, color=_ORANGE, ls="--", label="what the closed form uses")
        left.plot(sigma, gaussian, color="k", ls=":", lw=0.9, label="Gaussian data, scaled")
        left.set_yscale("log")
        left.set_ylim(min(used.min(), mean.min()) / 3, 3 * high.max())
        left.set_ylabel(r"$|Q| = |d^2x/d\sigma^2|$ (1 / data units)")
        share, error = profile.sensitivity, profile.sensitivity_error
        right.fill_between(
            sigma, share - 2 * error, share + 2 * error, color=_BLUE, alpha=0.3, lw=0
        )
        right.plot(sigma, share, color=_BLUE)
        right.plot(sigma, c / np.sqrt(c**2 + sigma**2), color="k", ls=":", lw=0.9)
        right.set_ylim(0, None)
        right.set_ylabel("share of a local error\nthat reaches the end")
        for axis in (left, right):
            axis.axvspan(*TRAINED_RANGE, color="0.93", lw=0, zorder=0)
            axis.set_xscale("log")
            axis.set_xlabel(r"noise level $\sigma$ (data units)")
        left.text(
            np.sqrt(TRAINED_RANGE[0] * TRAINED_RANGE[1]),
            left.get_ylim()[0] * 1.3,
            "trusted: levels trained on",
            ha="center",
            va="bottom",
            fontsize=6,
            color="0.35",
        )
        _legend_below(figure, [left], 4)
    return figure


def loss_figure(losses: Mapping[str, Any]) -> Figure:
    """Training loss against iterations, and the loss on training and held-out images against sigma.

    Args:
        losses: network_losses.json {training, sigma, by_sigma, standard_error}.
    """
    curve = np.array(losses["training"])
    window = max(1, len(curve) // 40)
    smooth = np.convolve(curve, np.ones(window) / window, mode="valid")
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), layout="constrained")
        left.plot(np.arange(1, len(curve) + 1), curve, color="0.8", lw=0.4, label="per batch")
        left.plot(
            np.arange(len(smooth)) + window,
            smooth,
            color=_BLUE,
            label=f"mean of the last {window}",
        )
        left.set_ylim(0.8 * np.min(smooth), 2.5 * np.median(smooth))
        left.set_xlabel("iteration")
        left.set_ylabel("EDM loss (training)")
        left.legend(loc="upper right")
        sigma = np.array(losses["sigma"])
        names = {"train": ("training images", _BLUE), "held_out": ("held-out images", _ORANGE)}
        for key, (label, color) in names.items():
            mean, error = (np.array(losses[k][key]) for k in ("by_sigma", "standard_error"))
            right.plot(sigma, mean, color=color, marker="o", label=label)
            right.fill_between(
                sigma, mean - 2 * error, mean + 2 * error, color=color, alpha=0.2, lw=0
            )
        right.axvspan(*TRAINED_RANGE, color="0.93", lw=0, zorder=0)
        right.set_xscale("log")
        right.set_yscale("log")
        right.set_xlabel(r"noise level $\sigma$ (data units)")
        right.set_ylabel("EDM loss (weighted)")
        right.legend(loc="best")
    return figure


def _longest_trial(rows: Sequence[Row]) -> list[Row]:
    """Rows of the start that was learned from to the end: iterations begin anew with each trial."""
    runs: list[list[Row]] = []
    for row in rows:
        if not runs or row["iteration"] <= runs[-1][-1]["iteration"]:
            runs.append([])
        runs[-1].append(row)
    return max(runs, key=len)


def learning_curves_figure(
    clocks: Mapping[str, Sequence[Row]], endpoint: Mapping[str, Sequence[Row]]
) -> Figure:
    """Learning on |Q| (left) and on the measured endpoint error (right).

    Args:
        clocks: label -> rows {iteration, ratio} with a ratio.
        endpoint: solver -> rows {budget, iteration, rmse_policy or rmse_draws}.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.9), layout="constrained")
        for color, (label, rows) in zip(
            (_ORANGE, _BLUE, _GREEN, "#8c510a"), clocks.items(), strict=False
        ):
            x = [row["iteration"] + 1 for row in rows]
            left.plot(x, [row["ratio"] for row in rows], color=color, label=label)
        left.axhline(1, color="k", ls="--", lw=0.9, label="closed form")
        left.axhspan(1, 1.03, color="0.9", lw=0, zorder=0)
        first = [rows[0]["ratio"] for rows in clocks.values() if rows]
        left.set_ylim(0.9, min(max([1.3, *first]) + 0.1, 2.0))
        left.set_xlabel("iteration")
        left.set_ylabel("objective / closed form")
        left.legend(loc="upper right")
        looks = {"euler": ("-", _BLUE), "heun": ("-", _ORANGE), "rk4": ("-", _GREEN)}
        for solver, rows in endpoint.items():
            style, color = looks[solver]
            named = False
            for K in sorted({row["budget"] for row in rows}):
                mine = _longest_trial([row for row in rows if row["budget"] == K])
                y = np.array([row["rmse_draws"] for row in mine])
                y = np.convolve(np.pad(y, 2, mode="edge"), np.ones(5) / 5, mode="valid")
                x = np.arange(1, len(y) + 1)
                label = None if named else f"{SOLVER_NAMES[solver]}, one line per K"
                right.plot(x, y / y[0], color=color, ls=style, lw=0.9, label=label)
                named = True
        right.axhline(1, color="k", lw=0.6)
        right.set_xlabel("iteration")
        right.set_ylabel("RMSE of sampled schedules\n/ at the start")
        if endpoint:
            right.legend(loc="upper right")
    return figure
