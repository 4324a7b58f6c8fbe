"""Curves of one model: the clock's speed, |Q| along the flow, learning."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from art_rl.report.figures import (
    COLUMN,
    LEARNER_COLOURS,
    STYLE,
    Row,
    legend_below,
    new_figure,
    panel_legend,
)


def theta_figure(clocks: Mapping[str, Sequence[Row]], optimum: Sequence[Row]) -> Figure:
    """The clock's speed theta(t): mean over trajectories and 99 % band, beside the closed form.

    Args:
        clocks: label -> rows {t, mean, low, high} of one learner.
        optimum: rows {t, theta} of the time-only closed form.
    """
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, 1, 2.7, COLUMN)
        axis = axes[0, 0]
        span = max(row["t"] for row in optimum)
        banded = []
        for colour, (label, rows) in zip(cycle(LEARNER_COLOURS), clocks.items(), strict=False):
            # The feedback form's last step lands on sigma = 0 from wherever the clock is: its speed is
            # the distance left, not one that was learned, and would be drawn as a spike.
            rows = rows[:-1]
            t = np.array([row["t"] for row in rows]) / span
            mean, low, high = (np.array([row[k] for row in rows]) for k in ("mean", "low", "high"))
            if (high > low * (1 + 1e-6)).any():
                low = np.maximum(low, mean.max() * 1e-6)
                axis.fill_between(t, low, high, color=colour, alpha=0.25, lw=0)
                banded.append(colour)
            axis.plot(t, mean, color=colour, label=label.replace("_", " "))
        t = np.array([row["t"] for row in optimum]) / span
        axis.plot(t, [row["theta"] for row in optimum], "k--", lw=0.9, label="closed form")
        label = r"speed $\theta = d\psi/dt$"
        axis.set(yscale="log", xlim=(0, 1), xlabel="clock time t / T", ylabel=label)
        colour = banded[0] if len(banded) == 1 else "0.6"
        band = Patch(color=colour, alpha=0.25, lw=0, label="99 % of trajectories")
        legend_below(figure, [axis], 2, [band] if banded else [])
    return figure


def draw_profile(
    curves: Mapping[str, np.ndarray], gaussian: str = "Gaussian data"
) -> tuple[Figure, Axes, Axes]:
    """Panels of |Q| and of the flow's sensitivity, still without legends.

    Args:
        curves: the columns of `profile_figure`.
        gaussian: label of the curve ``gaussian`` on the left.
    """
    sigma, q, q_error = curves["sigma"], curves["q"], curves["q_error"]
    blue, sky = "#0072b2", "#56b4e9"
    errors = "± 2 standard errors"
    with plt.rc_context(STYLE):
        figure, ((left, right),) = new_figure(1, 2, 3.1)
        tiny = q.max() * 1e-9
        low, band = np.maximum(curves["q_low"], tiny), {"color": sky, "alpha": 0.35, "lw": 0}
        left.fill_between(sigma, low, curves["q_high"], label="5 % to 95 % of trajectories", **band)
        low = np.maximum(q - 2 * q_error, tiny)
        left.fill_between(sigma, low, q + 2 * q_error, color=blue, alpha=0.5, lw=0, label=errors)
        left.plot(sigma, q, color=blue, label="mean over trajectories")
        left.plot(sigma, curves["gaussian"], "k:", lw=1.1, label=gaussian)
        left.set(yscale="log", ylim=(q.min() / 20, curves["q_high"].max() * 2))
        left.set_ylabel(r"$|Q| = |d^2x/d\sigma^2|$ (1 / data units)")
        share, error = curves["sensitivity"], curves["sensitivity_error"]
        right.fill_between(
            sigma, share - 2 * error, share + 2 * error, color=blue, alpha=0.3, lw=0, label=errors
        )
        right.plot(sigma, share, color=blue, label="share, mean over trajectories")
        right.plot(sigma, curves["gaussian_sensitivity"], "k:", lw=1.1, label="Gaussian data")
        right.set(ylim=(0, None), ylabel="share of a local error\nthat reaches the end")
        for axis in (left, right):
            axis.set(xscale="log", xlabel=r"noise level $\sigma$ (data units)")
    return figure, left, right


def profile_figure(rows: Sequence[Row]) -> Figure:
    """|Q| along trajectories against sigma, and the share of a local error that reaches the end.

    Args:
        rows: {sigma, q, q_error, q_low, q_high, gaussian, sensitivity, sensitivity_error,
            gaussian_sensitivity}; errors are standard errors, low and high the 5 % and 95 % points.
    """
    figure, left, right = draw_profile(
        {key: np.array([row[key] for row in rows]) for key in rows[0]}
    )
    with plt.rc_context(STYLE):
        panel_legend(left)
        panel_legend(right)
    return figure


def converged_band(axis: Axes, criterion: float) -> None:
    """Grey where a time-only learner counts as converged: up to ``criterion`` above the closed form."""
    label = f"converged: within {100 * criterion:g} %"
    axis.axhspan(1, 1 + criterion, color="0.85", lw=0, zorder=0, label=label)


def learning_figure(
    curves: Mapping[str, Mapping[int, Sequence[Row]]], bound: float | None, criterion: float
) -> Figure:
    """Objective over closed form against iterations, one colour per learner, one line per seed.

    Args:
        curves: learner label -> seed -> rows {iteration, ratio}.
        bound: per-trajectory bound over the closed form, if known.
        criterion: ratio up to which a time-only learner counts as converged.
    """
    with plt.rc_context(STYLE):
        figure, axes = new_figure(1, 1, 2.7, COLUMN)
        axis = axes[0, 0]
        top = 0.0
        for colour, (label, seeds) in zip(cycle(LEARNER_COLOURS), curves.items(), strict=False):
            for index, rows in enumerate(seeds.values()):
                x = [row["iteration"] + 1 for row in rows]
                y = np.array([row["ratio"] for row in rows])
                top = max(top, float(np.median(y)))
                many = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
                text = f"{label.replace('_', ' ')} ({many})" if index == 0 else None
                axis.plot(x, y, color=colour, lw=0.9, alpha=0.9, label=text)
        converged_band(axis, criterion)
        axis.axhline(1, color="k", lw=0.9, ls="--", label="closed form")
        if bound is not None:
            axis.axhline(bound, color="k", lw=0.9, ls=":", label="per-trajectory bound")
        low = min(bound or 1.0, 1.0) - 0.04
        axis.set_ylim(low, max(1.3, 1.15 * top))
        axis.set(xlabel="iteration", ylabel="objective / closed form")
        legend_below(figure, axes.ravel(), 2)
    return figure
