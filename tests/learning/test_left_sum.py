"""The experiment on the left-end sum: both costs against their definitions, the hole, what is learned."""

import numpy as np
import pytest
import torch

from art_rl.denoisers import Gaussian, GaussianMixture
from art_rl.learning import TableEnvironment
from art_rl.learning.evaluate import clock_objective, step_optimum
from art_rl.learning.left_sum import costs, landscape, learning_path, left_end_sum
from art_rl.report.figures import save
from art_rl.report.left_sum_figure import left_sum_figure, left_sum_markdown
from art_rl.schedules.hand_made import gaussian
from art_rl.settings.learners import PaperSettings

MIXTURE = GaussianMixture(
    [0.2, 0.3, 0.3, 0.2], [[-1.5], [-0.5], [0.6], [1.4]], [0.15, 0.4, 0.2, 0.3]
)


@pytest.fixture(scope="module")
def table():
    generator = torch.Generator().manual_seed(0)
    x = 80 * torch.randn(256, 1, dtype=torch.float64, generator=generator)
    return TableEnvironment.from_denoiser(MIXTURE, x, 80.0, 0.002, cells=128)


def test_left_end_sum_of_gaussian_data():
    # |Q| = |x| c^2 / (sigma^2 + c^2)^2 with |x| in proportion to sqrt(sigma^2 + c^2) along the flow.
    c, x = 0.5, 80 * torch.ones(8, 1, dtype=torch.float64)
    table = TableEnvironment.from_denoiser(Gaussian(c), x, 80.0, 0.002, cells=512)
    levels = np.array([80.0, 2.0, 0.4, 0.0])
    q = 80 / np.sqrt(80**2 + c**2) * c**2 * (levels[:-1] ** 2 + c**2) ** -1.5
    exact = 3 / 80 * (q * np.diff(levels) ** 2).sum()
    assert left_end_sum(table, levels) == pytest.approx(exact, rel=5e-3)


def test_both_costs_agree_at_many_steps(table):
    levels = gaussian(4000, 80.0, 0.002, 0.5)
    held, left = costs(table, np.array(levels))
    assert left == pytest.approx(held, rel=0.02)


def test_the_landscape_of_the_held_cost_ends_at_its_optimum_and_the_sum_in_a_hole(table):
    found, best = landscape(table), step_optimum(table, 3)[0]
    least = clock_objective(table, best)
    assert (found.held >= least * (1 - 1e-9)).all()
    assert found.held.min() == pytest.approx(least, rel=5e-3)
    assert found.first[found.held.argmin()] == pytest.approx(best[1], rel=0.05)
    # The sum's least value is far below its value at the best list, at levels that leap over the data's.
    hole = found.left.argmin()
    assert found.left[hole] < 0.1 * left_end_sum(table, best) and found.first[hole] < 0.02
    assert found.held[hole] > 20 * least


def test_learning_on_the_sum_lowers_it_and_raises_the_cost(table):
    settings = PaperSettings(seed=0, iterations=120, batch=128)
    paths = {left: learning_path(table, 3, settings, left) for left in (False, True)}
    assert paths[True].shape == (121, 4)
    np.testing.assert_array_equal(paths[True][0], paths[False][0])
    start = costs(table, paths[True][0])
    held, left = (costs(table, paths[which][-1]) for which in (False, True))
    assert left[1] < 0.7 * start[1] and left[0] > 2 * start[0]
    assert held[0] < 0.5 * start[0] and held[1] > start[1]


def test_figure_and_table(tmp_path):
    names = ("start", "optimum", "held", "left")
    lists = [
        {
            "list": name,
            **{f"sigma_{k}": s for k, s in enumerate((80.0, 2.0 + i, 0.4, 0.0))},
            "left_sum": 0.1,
            "held": 1.0 + i,
            "rmse": 0.5,
        }
        for i, name in enumerate(names)
    ]
    path = [
        {"learned_on": name, "iteration": i, "held": 2.0, "left_sum": 1.0}
        for name in ("held", "left")
        for i in range(3)
    ]
    field = [{"sigma_1": s, "held": 1.0, "left_sum": 0.1} for s in (70.0, 7.0, 0.7)]
    for name in ("a", "b"):
        save(left_sum_figure(lists, field, path), [tmp_path / f"{name}.png"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "| left | 80.00 | 5.000 | 0.4000 | 0 | 0.1000 | 4.000 | 2.000 | 0.5000 |" in (
        left_sum_markdown(lists)
    )
