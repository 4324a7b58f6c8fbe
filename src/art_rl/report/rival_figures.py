"""Figures of ART-RL and its rivals: the frontier, what the rivals measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from art_rl.registry import METRICS
from art_rl.report.figures import (
    STYLE,
    budget_axis,
    error_axis,
    legend_below,
    look,
    new_figure,
    plt,
)
from art_rl.report.rivals import SIDES
from art_rl.schedules.rivals.ays import klub_table
from art_rl.schedules.rivals.statistics import RivalStatistics

SIDE_LOOKS = {
    "ART-RL": {"color": "#d55e00", "marker": "*", "markersize": 7, "linestyle": "none"},
    "Rivals": {"color": "#6a3d9a", "marker": "s", "markersize": 3.5, "linestyle": "none"},
    "Without learning": {"color": "#7a7a7a", "marker": "o", "markersize": 3.5, "linestyle": "none"},
}


# Points of the adaptive solver further right, or worse than any pair by more, leave the figure.
MOST_ADAPTIVE_CALLS, MOST_ADAPTIVE_ERROR = 60, 5.0
ROUND_CALLS = (1, 2, 3, 5, 10, 20, 50)
ADAPTIVE_LOOK = {"color": "#0072b2", "marker": "D", "markersize": 3.5, "linestyle": "none"}


def frontier_figure(
    rows: Sequence[Mapping[str, Any]], adaptive: Sequence[Mapping[str, Any]] = ()
) -> Figure:
    """Error of the best pair with so many network calls or fewer, a panel per metric.

    Args:
        rows: of `rivals.frontier_rows`.
        adaptive: of `flow.solvers.adaptive.adaptive_points`: points of the panel of the RMSE, near
            the pairs.
    """
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    most = max((row["nfe"] for row in rows), default=0)
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, len(metrics), 2.8, 3.4 * len(metrics))
        for axis, metric in zip(axes.flat, metrics, strict=True):
            here = [row for row in rows if row["metric"] == metric]
            for place, side in enumerate(SIDES):
                mine = [row for row in here if row["side"] == side]
                if not mine:
                    continue
                calls, means, sd = ([row[key] for row in mine] for key in ("nfe", "mean", "sd"))
                # Error bars stand side by side; the step says what so many calls or fewer can do.
                beside = [(1 + 0.012 * (place - 1)) * nfe for nfe in calls]
                axis.errorbar(beside, means, sd, label=side, capsize=2, **SIDE_LOOKS[side])
                colour = SIDE_LOOKS[side]["color"]
                axis.step([*calls, most], [*means, means[-1]], where="post", color=colour, lw=1)
            if metric == "rmse":
                worst = MOST_ADAPTIVE_ERROR * max(row["mean"] for row in here)
                near = [
                    row
                    for row in adaptive
                    if row["nfe"] <= MOST_ADAPTIVE_CALLS and row["rmse"] <= worst
                ]
                if near:
                    columns = [[row[key] for row in near] for key in ("nfe", "rmse")]
                    axis.plot(*columns, label="Adaptive (dopri5)", **ADAPTIVE_LOOK)
            axis.set(xlabel="network calls (NFE)", ylabel=METRICS[metric].axis)
            error_axis(axis)
            budget_axis(axis, [calls for calls in ROUND_CALLS if calls <= axis.get_xlim()[1]])
        legend_below(figure, axes.flat, 2 if adaptive else 3)
    return figure


def statistics_figure(statistics: RivalStatistics) -> Figure:
    """What rival schedules are made of, once: densities of levels, and both cost matrices."""
    s = statistics.levels
    cells = -np.diff(np.log(s))
    middle = np.sqrt(s[1:] * s[:-1])
    entropic = statistics.denoising_error / s
    score = s[1:] * np.sqrt(statistics.score_change) / cells
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, 3, 2.5)
        density, jumps, bound = axes.flat
        area = np.sum((entropic[1:] + entropic[:-1]) / 2 * cells)
        density.plot(s, entropic / area, **_line("entropic"))
        density.plot(middle, score / np.sum(score * cells), **_line("score_optimal"))
        density.set(xscale="log", xlabel=r"$\sigma$")
        density.set_ylabel(r"share of levels per unit of $\log\sigma$")
        density.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize="small")
        _matrix(jumps, statistics.teacher_levels, statistics.jump_cost, "GITS: cost of a jump")
        table = klub_table(s, statistics.denoiser_change)
        _matrix(bound, s, table, "Align Your Steps: KLUB of a step")
    return figure


def _line(name: str) -> dict[str, Any]:
    return {**look(name), "marker": "none"}


def _matrix(axis: Any, levels: np.ndarray, cost: np.ndarray, title: str) -> None:
    """Costs above the diagonal, logarithmic; from the level on y to the level on x."""
    upper = np.triu(np.ones_like(cost, dtype=bool), 1) & (cost > 0)
    shown = np.where(upper, np.log10(np.where(upper, cost, 1.0)), np.nan)
    image = axis.pcolormesh(levels, levels, shown, shading="nearest", rasterized=True)
    axis.set(
        xscale="log", yscale="log", title=title, xlabel=r"to $\sigma$", ylabel=r"from $\sigma$"
    )
    axis.figure.colorbar(image, ax=axis, label=r"$\log_{10}$ cost")
