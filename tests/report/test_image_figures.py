"""Figures of image models: what is drawn, on which axes, how it is cut, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from art_rl import registry
from art_rl.errors import ArtRLError
from art_rl.report.figures import LARGEST_RATIO, look, plt, save
from art_rl.report.image_figures import (
    HEADROOM,
    WITH_BAND,
    learning_curves_figure,
    loss_figure,
    network_profile_figure,
    nfe_figure,
    sample_figure,
    spread,
)
from art_rl.schedules.profile import Profile

METHODS = ["uniform", "arctan", "gaussian", "art_rl_endpoint"]
FACTORS = {"uniform": 100.0, "arctan": 0.9, "gaussian": 1.0, "art_rl_endpoint": 0.5}
CALLS = {"euler": {2: 2, 5: 5, 18: 18}, "heun": {2: 3, 5: 9, 18: 35}}


@pytest.fixture(autouse=True)
def closed_figures():
    """matplotlib warns, here fatally, when more than 20 stay open."""
    yield
    plt.close("all")


def cells(blocks=2):
    """FID and RMSE f / K of two solvers, Heun ten times better; blocks differ by 20 %."""
    scale = {"euler": 1.0, "heun": 0.1}
    return [
        {
            "method": name,
            "solver": solver,
            "K": K,
            "nfe": nfe,
            "block": block,
            "rmse": scale[solver] * factor / K * (1 + 0.2 * block),
            "fid": 10 * scale[solver] * factor / K * (1 + 0.2 * block),
        }
        for name, factor in FACTORS.items()
        for solver, calls in CALLS.items()
        for K, nfe in calls.items()
        for block in range(blocks)
    ]


def named(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def profile(levels=24):
    sigma = np.geomspace(80, 0.002, levels)
    q = (0.25 + sigma**2) ** -1.5
    table = np.outer(np.linspace(0.5, 1.5, 11), q).astype(np.float32)
    share = 0.5 / np.sqrt(0.25 + sigma**2)
    return Profile(
        levels=sigma,
        mean={1: q},
        standard_error={1: 0.05 * q},
        sensitivity=share,
        sensitivity_error=0.1 * share,
        table=table,
        exact=False,
        sigma_data=0.5,
        model_digest="none",
    )


def losses(iterations=400):
    sigma = np.geomspace(0.002, 80, 16)
    curve = 0.3 + 5 * np.exp(-np.arange(iterations) / 20)
    by_sigma = {"train": (0.5 + 0 * sigma).tolist(), "held_out": (0.6 + 0 * sigma).tolist()}
    error = {"train": (0.01 + 0 * sigma).tolist(), "held_out": (0.05 + 0 * sigma).tolist()}
    return {
        "training": curve.tolist(),
        "sigma": sigma.tolist(),
        "by_sigma": by_sigma,
        "standard_error": error,
    }


def previews(channels=1, images=16):
    """Every image of a cell has one grey value: 10 K + its number; the reference is 250."""
    shape = (images, channels, 4, 4)
    sheets = {
        f"{name}_K{K}": np.full(shape, 10 * K, np.uint8)
        + np.arange(images, dtype=np.uint8)[:, None, None, None]
        for name in ("edm", "gaussian")
        for K in (2, 10)
    }
    return sheets | {"reference": np.full(shape, 250, np.uint8)}


def endpoint_rows(budgets=(2, 5)):
    """A short first trial, then one of twelve iterations that halves the error."""
    rows = []
    for K in budgets:
        for trial, length in ((1.2, 2), (1.0, 12)):
            errors = trial * np.linspace(1, 0.5, length)
            rows += [
                {"budget": K, "iteration": i + 1, "ratio": float(e)} for i, e in enumerate(errors)
            ]
    return rows


CLOCK = {"ART-RL (feedback)": [{"iteration": 9, "ratio": 1.2}, {"iteration": 19, "ratio": 1.01}]}


def test_nfe_figure_draws_block_means_against_network_calls():
    figure = nfe_figure(cells(), ["euler", "heun"], "rmse", METHODS)
    assert len(figure.axes) == 4
    for axis, solver, scale in zip(figure.axes[:2], ("euler", "heun"), (1.0, 0.1), strict=True):
        line = named(axis)[look("arctan")["label"]]
        np.testing.assert_array_equal(line.get_xdata(), list(CALLS[solver].values()))
        np.testing.assert_allclose(line.get_ydata(), scale * 0.9 * 1.1 / np.array([2, 5, 18]))
        assert len(axis.get_lines()) == len(METHODS)
        assert axis.get_xscale() == axis.get_yscale() == "log"
    assert "data units" in figure.axes[0].get_ylabel()
    assert all("NFE" in axis.get_xlabel() for axis in figure.axes[2:])


def test_nfe_figure_gives_each_solver_a_range_that_its_good_schedules_fill():
    figure = nfe_figure(cells(), ["euler", "heun"], "rmse", METHODS)
    euler, heun = (axis.get_ylim() for axis in figure.axes[:2])
    np.testing.assert_allclose(euler, (0.8 * 0.5 * 1.1 / 18, HEADROOM * 0.5 * 1.1 / 2))
    np.testing.assert_allclose(np.array(heun) * 10, euler)
    for axis in figure.axes[:2]:
        assert [text.get_text() for text in axis.texts] == ["above the panel: Uniform"]


def test_nfe_figure_divides_rmse_by_the_gaussian_schedule():
    figure = nfe_figure(cells(), ["euler"], "rmse", METHODS)
    above, below = figure.axes
    assert "RMSE of\nGaussian" in below.get_ylabel()
    np.testing.assert_allclose(named(below)[look("art_rl_endpoint")["label"]].get_ydata(), 0.5)
    np.testing.assert_allclose(below.get_ylim(), (0.85 * 0.5, LARGEST_RATIO))
    assert named(above).keys() == named(below).keys()
    # Neither FID nor figures without that schedule have the ratio.
    assert len(nfe_figure(cells(), ["euler"], "fid", METHODS).axes) == 1
    assert len(nfe_figure(cells(), ["euler"], "rmse", ["uniform", "arctan"]).axes) == 1


def test_nfe_figure_names_a_floor_far_below_instead_of_drawing_it():
    floors = {"reference": 0.1, "test set": 1e-5}
    figure = nfe_figure(cells(), ["euler"], "fid", METHODS, floors)
    drawn = [line.get_label() for line in figure.axes[0].lines]
    assert "reference" in drawn and "test set" not in drawn
    assert figure.axes[0].get_ylim()[0] > 1e-3
    assert "test set: 1e-05, below" in texts(figure.legends[0])
    # Drawn in Heun's panel, whose curves go lower: named once, by its line.
    best = min(row["fid"] for row in cells() if row["solver"] == "euler")
    figure = nfe_figure(cells(), ["euler", "heun"], "fid", METHODS, {"reference": best / 100})
    panels = ["reference" in named(axis) for axis in figure.axes]
    assert panels == [False, True]
    assert [name for name in texts(figure.legends[0]) if "reference" in name] == ["reference"]


def test_nfe_figure_labels_floors_and_the_spread_of_blocks():
    floors = {"reference": 0.1, "test set": 0.2}
    figure = nfe_figure(cells(), ["euler", "heun"], "fid", METHODS, floors, label="FID")
    band = "± 1 standard deviation of seed blocks"
    assert {"reference", "test set", band} < set(texts(figure.legends[0]))
    for axis in figure.axes:
        assert len(axis.collections) == len(set(METHODS) & set(WITH_BAND)) > 0
        assert named(axis)["test set"].get_ydata()[0] == 0.2
        curves = [line for line in axis.lines if line.get_label() not in floors]
        lowest = min(np.min(line.get_ydata()) for line in curves)
        np.testing.assert_allclose(axis.get_ylim()[0], 0.8 * min(lowest, 0.1))
    assert figure.axes[0].get_ylabel() == "FID"
    one = nfe_figure(cells(blocks=1), ["euler"], "fid", METHODS)
    assert not one.axes[0].collections and band not in texts(one.legends[0])
    assert one.axes[0].get_ylabel() == "LeNet-FID"


@pytest.mark.parametrize(("solver", "methods"), [("rk4", METHODS), ("euler", ["edm"])])
def test_nfe_figure_refuses_a_panel_without_cells(solver, methods):
    with pytest.raises(ArtRLError, match=f"no cell .* solver '{solver}'"):
        nfe_figure(cells(), [solver], "fid", methods)


@pytest.mark.parametrize(
    ("budgets", "count", "chosen"),
    [
        ([2, 3, 5, 7, 10, 18], 4, [2, 5, 7, 18]),
        ([2, 3, 5, 7, 10, 18], 2, [2, 18]),
        ([3, 5], 4, [3, 5]),
        ([5], 4, [5]),
        ([], 4, []),
    ],
)
def test_spread_keeps_both_ends(budgets, count, chosen):
    assert spread(budgets, count) == chosen


def test_sample_figure_shows_eight_images_of_every_cell_and_the_reference():
    figure = sample_figure(previews(), ["edm", "gaussian"], [2, 10], {2: 3, 10: 19}, "heun")
    assert len(figure.axes) == 6
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["K = 2, NFE 3", "K = 10, NFE 19", "fine solution"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["EDM\n($\\rho = 7$)", "Gaussian"]
    for axis, grey in zip(figure.axes, 2 * [20, 100, 250], strict=True):
        (image,) = axis.get_images()
        sheet = np.asarray(image.get_array())
        # Two rows of four images of 4 x 4 pixels, one white pixel between.
        assert sheet.shape == (9, 19) and image.get_clim() == (0, 255)
        assert (sheet[4] == 255).all() and (sheet[:, 4] == 255).all()
        first, last = sheet[:4, :4], sheet[5:, 15:]
        assert (first == grey).all() and (last == (grey if grey == 250 else grey + 7)).all()
    assert "Heun" in figure.get_suptitle()


def test_sample_figure_of_few_images_in_colour():
    figure = sample_figure(previews(3, 5), ["edm"], [2], {2: 3}, "heun")
    sheet = np.asarray(figure.axes[0].get_images()[0].get_array())
    assert sheet.shape == (9, 19, 3)
    assert (sheet[5:, 5:] == 255).all()


@pytest.mark.parametrize(("methods", "budgets"), [([], [2]), (["edm"], []), (["edm"], [2, 3])])
def test_sample_figure_refuses_what_it_cannot_draw(methods, budgets):
    with pytest.raises(ArtRLError, match="sample"):
        sample_figure(previews(), methods, budgets, dict.fromkeys(budgets, 1), "heun")


def test_network_profile_figure_labels_each_panel_for_itself():
    measured = profile()
    figure = network_profile_figure(measured)
    left, right = figure.axes
    assert left.get_xscale() == left.get_yscale() == right.get_xscale() == "log"
    assert right.get_yscale() == "linear"
    assert "1 / data units" in left.get_ylabel()
    assert all("data units" in axis.get_xlabel() for axis in figure.axes)
    shown = texts(left.get_legend())
    assert {"Gaussian data, scaled", "what the closed form uses", "levels trained on"} < set(shown)
    other = texts(right.get_legend())
    assert {"± 2 standard errors", "Gaussian data", "levels trained on"} < set(other)
    np.testing.assert_array_equal(
        named(left)["mean over trajectories"].get_ydata(), measured.mean[1]
    )
    # Data that is Gaussian: the scaled curve lies on the measured one.
    scaled = named(left)["Gaussian data, scaled"].get_ydata()
    np.testing.assert_allclose(scaled, measured.mean[1], rtol=1e-12)
    low, high = left.get_ylim()
    assert 0 < low < measured.mean[1].min() and high > measured.table.max()


def test_network_profile_figure_needs_two_standard_errors_of_the_share():
    measured = profile()
    wide = replace(measured, sensitivity_error=0.5 * measured.sensitivity)
    tops = [
        network_profile_figure(p).axes[1].collections[0].get_paths()[0].get_extents().y1
        for p in (measured, wide)
    ]
    np.testing.assert_allclose(tops, measured.sensitivity.max() * np.array([1.2, 2.0]))


def test_loss_figure_cuts_the_first_iterations_and_labels_bands():
    figure = loss_figure(losses())
    left, right = figure.axes
    smooth = named(left)["mean of the last 10 batches"]
    assert len(smooth.get_xdata()) == 391 and smooth.get_xdata()[0] == 10
    assert left.get_ylim()[1] == pytest.approx(2.5 * np.median(smooth.get_ydata()))
    assert max(named(left)["one batch"].get_ydata()) > left.get_ylim()[1]
    assert right.get_xscale() == right.get_yscale() == "log"
    assert "data units" in right.get_xlabel()
    labels = texts(right.get_legend())
    assert labels[:2] == ["training images", "held-out images"]
    assert {"± 2 standard errors", "levels trained on"} < set(labels)
    bands = [band.get_paths()[0].get_extents() for band in right.collections]
    np.testing.assert_allclose([(b.y0, b.y1) for b in bands], [(0.48, 0.52), (0.5, 0.7)])
    figure.canvas.draw()
    ticks = [label.get_text() for label in right.get_yticklabels()]
    assert "0.5" in ticks and not any("times" in tick for tick in ticks)


def test_loss_figure_refuses_an_empty_training():
    with pytest.raises(ArtRLError, match="no training iteration"):
        loss_figure(losses() | {"training": []})


def test_learning_curves_have_one_panel_per_solver_and_one_colour_per_budget():
    endpoint = {"euler": endpoint_rows((2, 5, 18)), "heun": endpoint_rows((2, 5))}
    figure = learning_curves_figure(CLOCK, endpoint, 0.03)
    left, euler, heun = figure.axes
    assert "Euler" in euler.get_title() and "Heun" in heun.get_title()
    np.testing.assert_array_equal(named(left)["ART-RL (feedback)"].get_xdata(), [10, 20])
    assert "on the same states" in euler.get_ylabel()
    colours = {name: line.get_color() for name, line in named(euler).items() if "K = " in name}
    assert len({to_rgba(colour) for colour in colours.values()}) == 3
    assert to_rgba(named(heun)["K = 5"].get_color()) == to_rgba(colours["K = 5"])
    assert texts(figure.legends[0]) == [
        "ART-RL (feedback)",
        "closed form",
        "converged: within 3 %",
        "K = 2",
        "K = 5",
        "K = 18",
    ]


def test_learning_curves_show_the_longest_trial_as_it_is():
    figure = learning_curves_figure(CLOCK, {"heun": endpoint_rows()})
    y = named(figure.axes[1])["K = 5"].get_ydata()
    np.testing.assert_array_equal(y, np.linspace(1, 0.5, 12))


def test_learning_curves_without_endpoint_runs_or_criterion():
    figure = learning_curves_figure(CLOCK, {})
    (axis,) = figure.axes
    assert not [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert axis.get_ylim()[0] < 1 and axis.get_ylim()[1] > 1.2
    # More learners than colours: all are drawn.
    many = {f"learner {i}": rows for i, rows in enumerate(6 * list(CLOCK.values()))}
    assert len(learning_curves_figure(many, {}).axes[0].get_lines()) == 6 + 1


def test_colours_of_methods_are_not_shared_between_groups():
    drawn = [registry.METHODS[name].look for name in METHODS]
    assert len({colour for colour, _, _ in drawn}) == len(drawn)
    assert len({marker for _, _, marker in drawn}) == len(drawn)


FIGURES = {
    "nfe": lambda: nfe_figure(cells(), ["euler", "heun"], "rmse", METHODS),
    "samples": lambda: sample_figure(previews(), ["edm"], [2, 10], {2: 3, 10: 19}, "heun"),
    "profile": lambda: network_profile_figure(profile()),
    "loss": lambda: loss_figure(losses()),
    "learning": lambda: learning_curves_figure(CLOCK, {"heun": endpoint_rows()}, 0.03),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_is_written_as_pdf_and_png(tmp_path, kind):
    paths = [tmp_path / f"{kind}.pdf", tmp_path / f"{kind}.png"]
    save(FIGURES[kind](), paths)
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert min(path.stat().st_size for path in paths) > 3000
