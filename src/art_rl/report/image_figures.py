"""Figures of image models, in the style of plots.py: errors against NFE, samples, |Q|, losses."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from art_rl.errors import ArtRLError
from art_rl.registry import METRICS
from art_rl.report.curves import converged_band, draw_profile
from art_rl.report.figures import (
    COLUMN,
    LEARNER_COLOURS,
    PAGE,
    SOLVER_NAMES,
    STYLE,
    Row,
    budget_axis,
    error_axis,
    label_lowest,
    legend_below,
    look,
    new_figure,
    page_width,
    panel_legend,
    plt,
    ratio_axis,
    ratio_label,
)
from art_rl.schedules.closed_form import node_density, trained_range
from art_rl.schedules.profile import EDM_NOISE, Profile

# An error panel ends at this multiple of its best schedule's largest error, so that the good ones fill it.
HEADROOM = 4
# Bands of all rows would hide each other: seed blocks move them together.
WITH_BAND = ("edm", "art_rl_endpoint")
# Images of a block of samples: at the most, and in a row.
_IMAGES, _COLUMNS = 8, 4
_NOTE = {"fontsize": 6, "color": "0.35", "ha": "right", "va": "top"}
_FLOOR_STYLES = ((0, (1, 1)), (0, (4, 2)))
_BLUE, _ORANGE = "#0072b2", "#d55e00"


def _means(rows: Sequence[Row], metric: str) -> dict[int, tuple[float, float]]:
    """NFE -> mean and standard deviation over seed blocks (0 of one block), ascending."""
    runs: dict[int, list[float]] = {}
    for row in rows:
        runs.setdefault(row["nfe"], []).append(row[metric])
    spread = {nfe: float(np.std(own, ddof=1)) if len(own) > 1 else 0.0 for nfe, own in runs.items()}
    return {nfe: (float(np.mean(runs[nfe])), spread[nfe]) for nfe in sorted(runs)}


def nfe_figure(
    rows: Sequence[Row],
    solvers: Sequence[str],
    metric: str,
    methods: Sequence[str],
    floors: Mapping[str, float] | None = None,
    label: str | None = None,
    versus: str = "gaussian",
) -> Figure:
    """One metric against network calls per image, one column per solver, each with its own range.

    Below RMSE stands its ratio to that of ``versus``, as in plots.error_figure.  Curves far above the
    best one leave their panel at the top.  Bands show the spread of the rows WITH_BAND.

    Args:
        rows: tidy cells {method, solver, K, nfe, block, metric}.
        metric: "fid" or "rmse".
        floors: label -> value drawn as grey lines.
        label: of the vertical axis; default: LeNet-FID or endpoint RMSE.

    Raises:
        ArtRLError: no cell of any of ``methods`` with one of ``solvers``.
    """
    floors = floors or {}
    lines = 1 + (metric == "rmse" and versus in methods)
    with plt.rc_context(STYLE):
        # The legend needs more than one column of a page.
        width = page_width(len(solvers)) if len(solvers) > 1 else 0.75 * PAGE
        figure, axes = new_figure(lines, len(solvers), 1.0 + 2.1 * lines, width, sharex="col")
        bands: list[Artist] = []
        drawn: set[str] = set()
        for column, solver in enumerate(solvers):
            own = [row for row in rows if row["solver"] == solver]
            curves = {
                name: _means([r for r in own if r["method"] == name], metric) for name in methods
            }
            curves = {name: curve for name, curve in curves.items() if curve}
            if not curves:
                raise ArtRLError(
                    f"no cell of the methods drawn with solver {solver!r}: found "
                    f"{len(rows)} cells; draw a method and a solver that were sampled"
                )
            axis = axes[0, column]
            for name, curve in curves.items():
                mean, sd = np.array(list(curve.values())).T
                axis.plot(list(curve), mean, **look(name))
                if sd.any() and name in WITH_BAND:
                    low = np.maximum(mean - sd, mean * 0.05)
                    colour = look(name)["color"]
                    axis.fill_between(list(curve), low, mean + sd, color=colour, alpha=0.15, lw=0)
                    text = "± 1 standard deviation of seed blocks"
                    bands = [Patch(color="0.6", alpha=0.4, lw=0, label=text)]
            calls = sorted({nfe for curve in curves.values() for nfe in curve})
            best = [min(c[nfe][0] for c in curves.values() if nfe in c) for nfe in calls]
            # A floor far below every curve would squeeze them into the top of the panel.
            near = {
                name: floor for name, floor in floors.items() if floor > min(best) / HEADROOM**2
            }
            for style, (name, floor) in zip(cycle(_FLOOR_STYLES), near.items(), strict=False):
                axis.axhline(floor, color="0.45", lw=0.8, ls=style, zorder=1, label=name)
            shown = [*best, *near.values()]
            axis.set_ylim(0.8 * min(shown), HEADROOM * max(shown))
            error_axis(axis)
            drawn |= set(near)
            top = axis.get_ylim()[1]
            unseen = [name for name in curves if min(curves[name].values())[0] > top]
            if unseen:
                names = ", ".join(look(name)["label"] for name in unseen)
                axis.text(1, 0.99, f"above the panel: {names}", _NOTE, transform=axis.transAxes)
            axis.set_title(fill(SOLVER_NAMES[solver], 20))
            if lines == 2:
                base, below, lowest = curves.get(versus, {}), axes[1, column], 1.0
                for name, curve in curves.items():
                    ratio = {nfe: curve[nfe][0] / base[nfe][0] for nfe in curve if nfe in base}
                    below.plot(list(ratio), list(ratio.values()), **look(name))
                    lowest = min([lowest, *ratio.values()])
                ratio_axis(below, lowest)
                below.set_visible(bool(base))
            for row in axes[:, column]:
                budget_axis(row, calls)
            # Beside more neighbours than a page holds there is no room for more.
            few = len(solvers) <= 4
            label_lowest(axes[:, column], "network calls per image (NFE)" if few else "NFE")
        axes[0, 0].set_ylabel(label or METRICS[metric].axis)
        if lines == 2:
            axes[1, 0].set_ylabel(ratio_label(versus))
        hidden = {name: value for name, value in floors.items() if name not in drawn}
        below_all = [f"{text}: {value:.2g}, below" for text, value in hidden.items()]
        notes: list[Artist] = [Line2D([], [], ls="none", label=text) for text in below_all]
        legend_below(figure, axes.ravel(), 4 if len(solvers) > 1 else 2, bands + notes)
    return figure


def spread(budgets: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the budgets, the ends among them, evenly over their ranks."""
    ranks = np.linspace(0, len(budgets) - 1, min(count, len(budgets)))
    return [budgets[int(rank + 0.5)] for rank in ranks]


def _montage(images: np.ndarray) -> np.ndarray:
    """The first of (n, C, H, W) as (H', W') or (H', W', 3): a few in a row, white lines between."""
    images = images[:_IMAGES]
    n, channels, height, width = images.shape
    rows = -(-n // _COLUMNS)
    sheet = np.full((channels, rows * (height + 1) - 1, _COLUMNS * (width + 1) - 1), 255, np.uint8)
    for index, image in enumerate(images):
        y, x = (height + 1) * (index // _COLUMNS), (width + 1) * (index % _COLUMNS)
        sheet[:, y : y + height, x : x + width] = image
    return np.moveaxis(sheet, 0, -1) if channels == 3 else sheet[0]


def sample_figure(
    previews: Mapping[str, np.ndarray],
    methods: Sequence[str],
    budgets: Sequence[int],
    nfe: Mapping[int, int],
    solver: str,
) -> Figure:
    """Samples from the same noise: one row per method, one block of images per budget.

    Args:
        previews: "<method>_K<K>" and, if there is one, "reference" -> uint8 (n, 1 or 3, H, W).
        nfe: K -> network calls per image.

    Raises:
        ArtRLError: no method or budget to draw, or a preview is missing.
    """
    if not methods or not budgets:
        raise ArtRLError(
            f"samples need a method and a budget, got {list(methods)}, {list(budgets)}"
        )
    missing = [f"{m}_K{K}" for m in methods for K in budgets if f"{m}_K{K}" not in previews]
    if missing:
        raise ArtRLError(f"no preview images of {', '.join(missing)}; sample these cells first")
    groups = [f"K = {K}, NFE {nfe[K]}" for K in budgets]
    groups += ["fine solution"] * ("reference" in previews)
    height, width = _montage(previews[f"{methods[0]}_K{budgets[0]}"]).shape[:2]
    cell = (PAGE - 1.2) / len(groups)
    with plt.rc_context(STYLE):
        figure, axes = new_figure(
            len(methods), len(groups), 0.5 + len(methods) * (cell * height / width + 0.05)
        )
        figure.get_layout_engine().set(w_pad=0.04, h_pad=0.03, wspace=0.01, hspace=0.01)
        for row, method in enumerate(methods):
            for column, group in enumerate(groups):
                axis = axes[row, column]
                last = column == len(budgets)
                key = "reference" if last else f"{method}_K{budgets[column]}"
                grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
                axis.imshow(_montage(previews[key]), interpolation="nearest", **grey)
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
                axis.spines[:].set_visible(False)
                if row == 0:
                    axis.set_title(group, fontsize=7)
                if column == 0:
                    name = look(method)["label"].replace(" (", "\n(")
                    axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
        figure.suptitle(f"{SOLVER_NAMES[solver]}, same noise in every block", fontsize=8)
    return figure


def _trained_band(axis: Axes, noise: tuple[float, float] = EDM_NOISE) -> None:
    """Grey over the levels that training draws, ln sigma ~ N(noise[0], noise[1]^2)."""
    axis.axvspan(*trained_range(*noise), color="0.93", lw=0, zorder=0, label="levels trained on")


def network_profile_figure(profile: Profile) -> Figure:
    """|Q| of a trained network against sigma, what closed forms use of it, and the sensitivity."""
    sigma, mean, c = profile.levels, profile.mean[1], profile.sigma_data
    low, high = np.quantile(profile.table.astype(np.float64), [0.05, 0.95], axis=0)
    used = node_density(profile)(sigma) ** 2
    gaussian = (c**2 + sigma**2) ** -1.5
    middle = np.argmin(np.abs(sigma - c))
    curves = {
        "sigma": sigma,
        "q": mean,
        "q_error": profile.standard_error[1],
        "q_low": low,
        "q_high": high,
        "gaussian": gaussian * mean[middle] / gaussian[middle],
        "sensitivity": profile.sensitivity,
        "sensitivity_error": profile.sensitivity_error,
        "gaussian_sensitivity": c / np.sqrt(c**2 + sigma**2),
    }
    figure, left, right = draw_profile(curves, "Gaussian data, scaled")
    with plt.rc_context(STYLE):
        left.plot(sigma, used, color=_ORANGE, ls="--", label="what the closed form uses")
        left.set_ylim(min(used.min(), mean.min()) / 3, 3 * high.max())
        for axis in (left, right):
            _trained_band(axis, profile.trained_noise)
            panel_legend(axis)
    return figure


def loss_figure(losses: Mapping[str, Any]) -> Figure:
    """Training loss against iterations, and the loss on training and held-out images against sigma.

    Args:
        losses: network_losses.json {training, training_every, sigma, by_sigma, standard_error}.

    Raises:
        ArtRLError: no iteration was recorded.
    """
    curve = np.array(losses["training"])
    every = losses.get("training_every", 1)  # iterations behind each entry
    if not len(curve):
        raise ArtRLError("losses hold no training iteration; train the network first")
    window = max(1, len(curve) // 40)
    smooth = np.convolve(curve, np.ones(window) / window, mode="valid")
    with plt.rc_context(STYLE):
        figure, ((left, right),) = new_figure(1, 2, 3.1)
        at = every * np.arange(1, len(curve) + 1)
        one = "one batch" if every == 1 else f"mean of {every} batches"
        left.plot(at, curve, color="0.75", lw=0.4, label=one)
        text = f"mean of the last {window * every} batches"
        left.plot(at[window - 1 :], smooth, color=_BLUE, label=text)
        left.set_ylim(0.8 * np.min(smooth), 2.5 * np.median(smooth))
        left.set(xlabel="iteration", ylabel="EDM loss in training\n(about 1 if untrained)")
        sigma = np.array(losses["sigma"])
        names = {"train": ("training images", _BLUE), "held_out": ("held-out images", _ORANGE)}
        for key, (label, colour) in names.items():
            mean, error = (np.array(losses[k][key]) for k in ("by_sigma", "standard_error"))
            right.plot(sigma, mean, color=colour, marker="o", label=label)
            low, high = mean - 2 * error, mean + 2 * error
            right.fill_between(sigma, low, high, color=colour, alpha=0.25, lw=0)
        _trained_band(right, losses.get("trained_noise", EDM_NOISE))
        right.set(xscale="log", xlabel=r"noise level $\sigma$ (data units)")
        right.set_ylabel("EDM loss at one level\n(about 1 if untrained)")
        error_axis(right)
        panel_legend(left)
        panel_legend(right, 2, [Patch(color="0.6", alpha=0.5, lw=0, label="± 2 standard errors")])
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
    clocks: Mapping[str, Sequence[Row]],
    endpoint: Mapping[str, Sequence[Row]],
    criterion: float | None = None,
) -> Figure:
    """Learning on |Q| (first panel) and on the measured endpoint error, one panel per solver.

    Args:
        clocks: label -> rows {iteration, ratio} with a ratio.
        endpoint: solver -> rows {budget, iteration, ratio}: the mean policy's error over that of the
            schedule learning started from, on the states of the iteration.
        criterion: ratio - 1 up to which a clock counts as converged, if any.
    """
    budgets = sorted({row["budget"] for rows in endpoint.values() for row in rows})
    # Sequential and readable without colour; its end is too bright for lines on white.
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.88, len(budgets)))
    colours, panels = dict(zip(budgets, shades, strict=True)), 1 + len(endpoint)
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, panels, 3.1, page_width(panels) if endpoint else COLUMN)
        left, *right = axes[0]
        for colour, (label, rows) in zip(cycle(LEARNER_COLOURS), clocks.items(), strict=False):
            x = [row["iteration"] + 1 for row in rows]
            left.plot(x, [row["ratio"] for row in rows], color=colour, label=label)
        left.axhline(1, color="k", ls="--", lw=0.9, label="closed form")
        if criterion is not None:
            converged_band(left, criterion)
        first = [rows[0]["ratio"] for rows in clocks.values() if rows]
        left.set_ylim(0.9, min(max([1.1, *first]) + 0.1, 2.0))
        left.set(title=r"learning on $|Q|$", ylabel="objective / closed form")
        for axis, (solver, rows) in zip(right, endpoint.items(), strict=True):
            for K in sorted({row["budget"] for row in rows}):
                mine = _longest_trial([row for row in rows if row["budget"] == K])
                y = [row["ratio"] for row in mine]
                axis.plot(np.arange(1, len(y) + 1), y, color=colours[K], lw=1.1, label=f"K = {K}")
            axis.axhline(1, color="k", lw=0.6)
            axis.set_title(f"endpoint reward, {SOLVER_NAMES[solver]}")
        for axis in axes[0]:
            axis.set_xlabel("iteration")
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if right:
            right[0].set_ylabel("RMSE of the mean policy / of the\nstart, on the same states")
        # A column of learners, then K in threes.
        legend_below(figure, axes[0], 1 + -(-len(budgets) // 3))
    return figure
