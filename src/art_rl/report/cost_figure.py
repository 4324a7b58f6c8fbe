"""Endpoint RMSE over EDM's against the network evaluations behind a schedule (`report.costs`)."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, SymmetricalLogLocator

from art_rl.registry import METHODS, SOLVERS
from art_rl.report.costs import mean_ratio
from art_rl.report.figures import (
    STYLE,
    legend_below,
    look,
    new_figure,
    page_width,
    plain_numbers,
    plt,
)

# Below this many evaluations the axis is linear, so that 0 is on it.
_LINEAR = 1e4
# Points above this leave their panel.
_LARGEST = 6
_FINE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5)
_COARSE = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


def _range(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Limits that hold every point of a solver (EDM's line too); bars may leave them."""
    pairs = {(row["model"], row["method"]) for row in rows}
    means = [mean_ratio(r for r in rows if (r["model"], r["method"]) == pair) for pair in pairs]
    return 0.6 * min(means), min(max(1.2, 1.3 * max(means)), _LARGEST)


def cost_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A row of panels per model, a column per solver; a point per method.

    Each point is the geometric mean over the K of its row, its bar the range over them; the evaluations
    are the mean of those behind one schedule.  Below the grey line a schedule beats EDM's.

    Args:
        rows: of `costs.cost_rows`, of any models.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    solvers = [name for name in SOLVERS if any(row["solver"] == name for row in rows)]
    most = max(row["evaluations"] for row in rows)
    with plt.rc_context(STYLE):
        size = (1.7 * len(models) + 1.3, page_width(len(solvers)))
        figure, axes = new_figure(len(models), len(solvers), *size, sharex=True, sharey="col")
        for line, model in enumerate(models):
            for column, solver in enumerate(solvers):
                axis = axes[line, column]
                own = [r for r in rows if (r["model"], r["solver"]) == (model, solver)]
                axis.set_visible(bool(own))
                if not own:
                    continue
                for name in METHODS:
                    mine = [row for row in own if row["method"] == name]
                    if mine:
                        ratios = [row["ratio"] for row in mine]
                        spent = float(np.mean([row["evaluations"] for row in mine]))
                        style = {**look(name), "linestyle": "none"}
                        if METHODS[name].look[1] != "-":  # a broken line: an open marker
                            style["markerfacecolor"] = "white"
                        axis.plot(spent, mean_ratio(mine), **style)
                        bar = {"color": style["color"], "lw": 0.6, "alpha": 0.6}
                        axis.plot([spent] * 2, [min(ratios), max(ratios)], **bar)
                axis.axhline(1, color="0.4", lw=0.8, zorder=1)
                axis.set_title(fill(f"{model}, {SOLVERS[solver].label}", 22))
                axis.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
                axis.set_xlim(-0.15 * _LINEAR, max(1.6 * most, 2 * _LINEAR))
                axis.set_yscale("log")
                low, high = _range([row for row in rows if row["solver"] == solver])
                axis.set_ylim(low, high)
                plain_numbers(axis.yaxis, FixedLocator(_FINE if low > 0.1 else _COARSE))
                axis.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=_LINEAR))
                axis.xaxis.set_minor_locator(NullLocator())
                later = models[line + 1 :]
                if not any(r["solver"] == solver and r["model"] in later for r in rows):
                    axis.tick_params(labelbottom=True)
                    axis.set_xlabel("network evaluations")
            axes[line, 0].set_ylabel("RMSE / RMSE of EDM")
        legend_below(figure, axes.flat, 4)
    return figure
