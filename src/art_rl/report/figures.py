"""Figures for a paper: one style, one colour per method everywhere, files that repeat byte for byte.

Every function takes tidy rows (as read from CSV) and returns a matplotlib Figure; `save` writes it.
Colours are Okabe and Ito's, safe for colour-blind readers; hand-made schedules are grey, markers differ.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from art_rl.files import atomic_path
from art_rl.registry import METHODS, METRICS, SOLVERS

Row = Mapping[str, Any]

# Widths of a text column and of a page, inches.
COLUMN, PAGE = 3.4, 7.0

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.color": "0.85",
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}

SOLVER_NAMES = {solver.id: solver.label for solver in SOLVERS.values()}
# Learners drawn side by side, in order.
LEARNER_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#8c510a")
# Ratios above this leave their panel: schedules that far off need no reading.
LARGEST_RATIO = 3


def look(method: str) -> dict[str, Any]:
    """Line properties and label of a method."""
    colour, line, marker = METHODS[method].look
    learned = METHODS[method].group == "ART-RL"
    label = METHODS[method].label.replace("sigma_min", r"$\sigma_{\min}$")
    return {
        "color": colour,
        "linestyle": line,
        "marker": marker,
        "label": label.replace("rho = 7", r"$\rho = 7$"),
        "linewidth": 1.6 if learned else 1.1,
        "markersize": 6 if marker == "*" else 3.5,
        "zorder": 3 if learned else 2,
    }


def save(figure: Figure, paths: Iterable[str | os.PathLike]) -> None:
    """Write the figure to every path (.pdf, .png) atomically and without dates, and close it."""
    for path in paths:
        metadata = {"CreationDate": None} if str(path).endswith(".pdf") else {"Software": None}
        with plt.rc_context(STYLE), atomic_path(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
    plt.close(figure)


def new_figure(rows: int, columns: int, height: float, width: float = PAGE, **kw: Any) -> Any:
    """(figure, axes (rows, columns)) in STYLE; sizes in inches."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **kw
        )
    return figure, axes


def page_width(columns: int) -> float:
    """Inches of a figure with ``columns`` panels side by side: a page holds four, more make it wider."""
    return PAGE * max(1.0, columns / 4)


def plain_numbers(axis: Axis, locator: Locator) -> None:
    """Ticks where ``locator`` puts them, as plain numbers, none between."""
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def error_axis(axis: Axes) -> None:
    """Logarithmic, with plain numbers where the range is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high / low < 100:
        subs = (1, 2, 5) if high / low > 10 else (1, 2, 3, 5, 7)
        plain_numbers(axis.yaxis, LogLocator(subs=subs))


def ratio_axis(axis: Axes, lowest: float) -> None:
    """Logarithmic from below ``lowest`` (and 1) to LARGEST_RATIO."""
    low = 0.85 * min(lowest, 1.0)
    ticks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3]
    if low > 0.4:
        ticks = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3]
    axis.set(yscale="log", ylim=(low, LARGEST_RATIO))
    plain_numbers(axis.yaxis, FixedLocator(ticks))


def budget_axis(axis: Axes, budgets: Sequence[int]) -> None:
    """Logarithmic, with a tick at every budget."""
    axis.set_xscale("log")
    plain_numbers(axis.xaxis, FixedLocator(list(budgets)))


def label_lowest(axes: Iterable[Axes], text: str) -> None:
    """Label and tick labels of the lowest visible of panels that share their horizontal axis."""
    shown = [axis for axis in axes if axis.get_visible()]
    if shown:
        shown[-1].set_xlabel(text)
        shown[-1].tick_params(labelbottom=True)


def legend_below(
    figure: Figure, axes: Iterable[Axes], columns: int, more: Sequence[Artist] = ()
) -> None:
    """One legend for all panels, below them; ``more`` are handles that no panel holds."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    entries |= {str(handle.get_label()): handle for handle in more}
    for count in range(columns, 0, -1):  # fewer columns where these do not fit the page
        legend = figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=count,
            columnspacing=1.2,
            handlelength=1.8,
        )
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def panel_legend(axis: Axes, columns: int = 2, more: Sequence[Artist] = ()) -> None:
    """The legend of one panel, below it: for panels whose lines mean different things."""
    handles = [*axis.get_legend_handles_labels()[0], *more]
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=columns,
        columnspacing=1.0,
        handlelength=1.8,
    )


def error_figure(
    rows: Sequence[Row],
    solvers: Sequence[str],
    metrics: Sequence[str],
    methods: Sequence[str],
    floors: Mapping[str, float],
    versus: str = "gaussian",
) -> Figure:
    """Each metric against K, one column per solver; last row: RMSE relative to ``versus``.

    Args:
        rows: tidy cells (model, method, solver, K, block and the metrics).
        floors: metric -> value drawn as a grey line: the sampling floor of w2, the error of the reference
            solution below rmse.  A line far below every curve leaves its panel; the legend says where it is.
    """
    lines = [(metric, False) for metric in metrics]
    if versus in methods and "rmse" in metrics:
        lines.append(("rmse", True))
    with plt.rc_context(STYLE):
        width = page_width(len(solvers))
        figure, axes = new_figure(
            len(lines), len(solvers), 0.75 + 1.9 * len(lines), width, sharex="col"
        )
        for column, solver in enumerate(solvers):
            own = [row for row in rows if row["solver"] == solver]
            budgets = sorted({row["K"] for row in own})
            for line, (metric, relative) in enumerate(lines):
                axis = axes[line, column]
                base = _curve(own, versus, metric, budgets) if relative else None
                lowest, drawn = 1.0, False
                for method in methods:
                    mean = _curve(own, method, metric, budgets)
                    mean = mean if base is None else mean / base
                    if not np.isfinite(mean).any():
                        continue
                    lowest, drawn = min(lowest, float(np.nanmin(mean))), True
                    axis.plot(budgets, mean, **look(method))
                error_axis(axis)
                if metric in floors and drawn and not relative:
                    limits, reference = axis.get_ylim(), metric == "rmse"
                    error = f"reference's own error ({floors[metric]:.1g})"
                    text = error if reference else "sampling floor"
                    dashes = (0, (4, 2)) if reference else (0, (1, 1))
                    line_look: dict[str, Any] = {"color": "0.4", "lw": 0.8, "zorder": 1}
                    axis.axhline(floors[metric], ls=dashes, label=text, **line_look)
                    if floors[metric] < limits[0] / 10:
                        axis.set_ylim(limits)
                budget_axis(axis, budgets)
                axis.set_visible(drawn)  # a solver's tables may lack the metric or ``versus``
                if relative:
                    # Far worse curves leave the panel at the top; the panels above hold them.
                    ratio_axis(axis, lowest)
                if line == 0:
                    axis.set_title(SOLVER_NAMES[solver])
                if column == 0:
                    axis.set_ylabel(ratio_label(versus) if relative else METRICS[metric].axis)
            label_lowest(axes[:, column], "steps K")
        legend_below(figure, axes.ravel(), 4)
    return figure


def ratio_label(versus: str) -> str:
    """Of the axis of RMSE relative to the method ``versus``."""
    return f"RMSE / RMSE of\n{look(versus)['label']}"


def _curve(rows: Sequence[Row], method: str, metric: str, budgets: Sequence[int]) -> np.ndarray:
    """Mean over blocks at each budget; nan where there is no cell."""
    mean = np.full(len(budgets), np.nan)
    for i, K in enumerate(budgets):
        runs = [row[metric] for row in rows if row["method"] == method and row["K"] == K]
        if runs:
            mean[i] = np.mean(runs)
    return mean


def schedule_figure(
    schedules: Mapping[tuple[str, int], Sequence[float]], methods: Sequence[str], sigma_min: float
) -> Figure:
    """sigma_k against k, one panel per budget.

    Args:
        schedules: (method, K) -> the K + 1 levels.
        sigma_min: below it the axis is linear, so that the last level, 0, is on it.
    """
    budgets = sorted({K for _, K in schedules})
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, len(budgets), 3.1, sharey=True)
        for axis, K in zip(axes[0], budgets, strict=True):
            for method in methods:
                if (method, K) in schedules:
                    every = max(1, K // 10)
                    axis.plot(range(K + 1), schedules[method, K], markevery=every, **look(method))
            axis.set_yscale("symlog", linthresh=sigma_min, linscale=0.4)
            axis.set(title=f"K = {K}", xlabel="step k", xlim=(-0.02 * K, 1.02 * K))
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.yaxis.set_minor_locator(NullLocator())
        axes[0, 0].set(ylabel=r"noise level $\sigma_k$ (data units)", ylim=(0, None))
        legend_below(figure, axes.ravel(), 4)
    return figure
