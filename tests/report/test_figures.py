"""Figures show the numbers they are given, and their files repeat byte for byte."""

import numpy as np
import pytest

from art_rl.registry import METHODS
from art_rl.report.curves import learning_figure, profile_figure, theta_figure
from art_rl.report.figures import (
    error_figure,
    new_figure,
    plt,
    ratio_axis,
    save,
    schedule_figure,
)
from art_rl.report.image_figures import nfe_figure


@pytest.fixture(autouse=True)
def closed_figures():
    """matplotlib warns, here fatally, when more than 20 stay open."""
    yield
    plt.close("all")


def cells():
    return [
        {"method": m, "solver": "euler", "K": K, "block": b, "w2": f / K + 0.001 * b, "rmse": f / K}
        for m, f in (("edm", 2.0), ("gaussian", 1.0))
        for K in (2, 5, 10)
        for b in range(3)
    ]


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_every_method_has_its_own_look():
    assert len({entry.look for entry in METHODS.values()}) == len(METHODS)


def test_error_figure_draws_means_and_ratios():
    figure = error_figure(cells(), ["euler"], ["w2", "rmse"], ["edm", "gaussian"], {"w2": 0.01})
    w2, rmse, ratio = figure.axes
    edm = {line.get_label(): line for line in w2.get_lines()}["EDM ($\\rho = 7$)"]
    np.testing.assert_allclose(edm.get_xdata(), [2, 5, 10])
    np.testing.assert_allclose(edm.get_ydata(), 2 / np.array([2, 5, 10]) + 0.001, rtol=1e-12)
    assert w2.get_yscale() == rmse.get_yscale() == "log"
    np.testing.assert_allclose(ratio.get_lines()[0].get_ydata(), 2.0)
    assert ratio.get_ylim() == (0.85, 3) and "RMSE of\nGaussian" in ratio.get_ylabel()
    assert "data units" in w2.get_ylabel() and "data units" in rmse.get_ylabel()
    floor = [line for line in w2.get_lines() if len(set(line.get_ydata())) == 1]
    assert floor and floor[0].get_ydata()[0] == 0.01
    assert "sampling floor" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_panels_of_nothing_are_hidden():
    """Ratios to a row that the solver's tables lack, and a metric they lack, were empty panels."""
    rows = [{**row, "solver": "heun", "w2": float("nan")} for row in cells()]
    rows = cells() + [row for row in rows if row["method"] == "edm"]
    methods, solvers = ["edm", "gaussian"], ["euler", "heun"]
    figure = error_figure(rows, solvers, ["w2", "rmse"], methods, {"w2": 0.01})
    shown = [axis.get_visible() for axis in figure.axes]
    assert shown == [True, False, True, True, True, False]
    assert [axis.get_xlabel() for axis in figure.axes][2:5] == ["", "steps K", "steps K"]
    figure = nfe_figure([{**row, "nfe": row["K"]} for row in rows], solvers, "rmse", methods)
    assert [axis.get_visible() for axis in figure.axes] == [True, True, True, False]
    assert "NFE" in figure.axes[1].get_xlabel()


def test_error_figure_says_where_the_reference_is():
    """In the panel where it is near the curves, in the legend always; it never squeezes the curves."""
    for value in (0.2, 1e-6):
        figure = error_figure(cells(), ["euler"], ["rmse"], ["edm", "gaussian"], {"rmse": value})
        plain = error_figure(cells(), ["euler"], ["rmse"], ["edm", "gaussian"], {})
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert f"reference's own error ({value:.1g})" in texts
        low, free = figure.axes[0].get_ylim()[0], plain.axes[0].get_ylim()[0]
        assert low <= value if value == 0.2 else low == pytest.approx(free)


def test_schedule_figure_shows_every_level_down_to_zero():
    levels = [80.0, 5.0, 0.5, 0.0]
    figure = schedule_figure({("edm", 3): levels}, ["edm"], 0.002)
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), levels)
    low, high = figure.axes[0].get_ylim()
    assert low <= 0 and high >= 80


def test_theta_and_learning_figures():
    rows = [{"t": t, "mean": 1.0, "low": 0.9, "high": 1.1} for t in (0.0, 1.0, 2.0)]
    rows[-1] |= {"mean": 9.0, "high": 10.0}
    figure = theta_figure({"feedback": rows}, [{"t": 2.0, "theta": 1.0}])
    mean = figure.axes[0].get_lines()[0]
    # The last step lands on 0; its speed is not a learned one.
    np.testing.assert_array_equal(mean.get_xdata(), [0.0, 0.5])
    assert max(mean.get_ydata()) == 1.0
    assert "99 % of trajectories" in legend_texts(figure)
    curve = [{"iteration": 9, "ratio": 1.2}, {"iteration": 19, "ratio": 1.01}]
    figure = learning_figure({"feedback": {0: curve, 1: curve}}, 0.95, 0.02)
    levels = [line.get_ydata()[0] for line in figure.axes[0].get_lines()]
    assert levels.count(1.2) == 2 and 1 in levels and 0.95 in levels
    low, high = figure.axes[0].get_ylim()
    assert low < 0.95 and high > 1.2
    assert "converged: within 2 %" in legend_texts(figure)


def test_theta_of_a_clock_without_a_band_has_none_in_the_legend():
    rows = [{"t": t, "mean": 1.0, "low": 1.0, "high": 1.0} for t in (0.0, 1.0, 2.0)]
    figure = theta_figure({"time only": rows}, [{"t": 2.0, "theta": 1.0}])
    assert legend_texts(figure) == ["time only", "closed form"]
    assert not figure.axes[0].collections


def test_profile_figure_bands_stay_positive():
    keys = ("q", "q_error", "q_low", "q_high", "gaussian", "sensitivity")
    rows = [
        {
            "sigma": s,
            **dict.fromkeys(keys, 1 / s),
            "sensitivity_error": 0.1,
            "gaussian_sensitivity": 1,
        }
        for s in (0.1, 1.0, 10.0)
    ]
    figure = profile_figure(rows)
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.1 and high > 10
    for axis in figure.axes:
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        assert "± 2 standard errors" in texts and "Gaussian data" in texts
        assert "data units" in axis.get_xlabel()


@pytest.mark.parametrize("suffix", ["pdf", "png"])
def test_files_repeat_byte_for_byte(tmp_path, suffix):
    for name in ("a", "b"):
        save(
            schedule_figure({("edm", 2): [1.0, 0.5, 0.0]}, ["edm"], 0.1),
            [tmp_path / f"{name}.{suffix}"],
        )
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_ratio_panel_has_ticks_down_to_its_lowest_curve():
    """They ended at 0.01, more than a factor of five above a learned list with RK4."""
    _, axes = new_figure(1, 1, 2.0, 2.0)
    axis = axes[0, 0]
    ratio_axis(axis, 0.0018)
    low, high = axis.get_ylim()
    shown = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert low < 0.0018 and min(shown) == 0.002 and max(shown) == 3
