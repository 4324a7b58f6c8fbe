"""Figure and table of the experiment on Algorithm 1's left-end sum (`learning.left_sum`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from art_rl.report.figures import STYLE, legend_below, new_figure, plt
from art_rl.report.tables import plain_markdown

Row = Mapping[str, Any]

# list: label and look
LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "start": ("start: Gaussian", {"color": "#7a7a7a", "marker": "D", "linestyle": ":"}),
    "optimum": (
        r"optimum of $J_3$",
        {"color": "#000000", "marker": "s", "linestyle": "--", "markersize": 6},
    ),
    "held": (r"learned on $J_3$", {"color": "#0072b2", "marker": "o", "linestyle": "-"}),
    "left": ("learned on the left-end sum", {"color": "#d55e00", "marker": "v", "linestyle": "-"}),
}
NOTE = (
    "Three-step lists. left_sum: (K/T) sum q(sigma_k) h_k^2, the papers' left-end sum; held: J_K, theta held "
    "over each step; ratio: J_K over its optimum; rmse: endpoint RMSE of Euler with the list. The list "
    "learned on the left-end sum is the best by the sum it learned on and the worst by both other counts."
)


def left_sum_figure(
    lists: Sequence[Row], landscape: Sequence[Row], learning: Sequence[Row]
) -> Figure:
    """The lists; both costs over all lists; both costs along the learning.

    Args:
        lists: rows {list, sigma_0, ..., left_sum, held, rmse}.
        landscape: rows {sigma_1, held, left_sum}, the least costs over sigma_2.
        learning: rows {learned_on, iteration, held, left_sum}.
    """
    by_name = {row["list"]: row for row in lists}
    best = by_name["optimum"]["held"]
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, 3, 2.9)
        levels, hole, path = axes.flat
        for name, (label, style) in LISTS.items():
            row = by_name[name]
            sigma = [row[key] for key in row if key.startswith("sigma_")]
            levels.plot(range(len(sigma)), sigma, label=label, **style)
        levels.set_yscale("symlog", linthresh=0.01, linscale=0.4)
        label = r"noise level $\sigma_k$ (data units)"
        levels.set(ylim=(0, None), xlabel="step k", ylabel=label, title="lists of three steps")
        levels.xaxis.set_major_locator(MaxNLocator(integer=True))
        levels.yaxis.set_minor_locator(NullLocator())

        s = np.array([row["sigma_1"] for row in landscape])
        kinds = {
            "held": (r"held cost $J_3$, filled", "-"),
            "left_sum": ("left-end sum, open", "--"),
        }
        for key, (label, line) in kinds.items():
            cost = np.array([row[key] for row in landscape]) / best
            hole.plot(s, cost, color="#555555", linestyle=line, label=label)
        for name, (_, style) in LISTS.items():
            row = by_name[name]
            dots = {"markersize": 5, **style, "linestyle": "none"}
            hole.plot(row["sigma_1"], row["held"] / best, **dots)
            hole.plot(row["sigma_1"], row["left_sum"] / best, **dots, markerfacecolor="white")
        above = {"yscale": "log", "ylabel": r"cost / optimum of $J_3$"}
        label = r"first level landed on, $\sigma_1$"
        hole.set(xscale="log", xlabel=label, title=r"least cost over $\sigma_2$", **above)

        for name in ("held", "left"):
            mine = [row for row in learning if row["learned_on"] == name]
            x = [row["iteration"] for row in mine]
            for key, (_, line) in kinds.items():
                cost = np.array([row[key] for row in mine]) / best
                path.plot(x, cost, color=LISTS[name][1]["color"], linestyle=line)
        path.set(xlabel="iteration", title="along the learning", **above)
        legend_below(figure, axes.flat, 3)
    return figure


def left_sum_markdown(lists: Sequence[Row]) -> str:
    """The lists and their costs, a row each."""
    best = next(row["held"] for row in lists if row["list"] == "optimum")
    rows = [{**row, "ratio": row["held"] / best} for row in lists]
    columns = [*(key for key in lists[0] if key != "rmse"), "ratio", "rmse"]
    return plain_markdown([{key: row[key] for key in columns} for row in rows], NOTE)
