"""Wins, ties and losses with the 1 % rule and the frontier, on cells made by hand."""

import numpy as np

from art_rl.registry import METHODS, RIVAL
from art_rl.report.figures import save
from art_rl.report.rival_figures import frontier_figure, statistics_figure
from art_rl.report.rivals import (
    frontier_markdown,
    frontier_rows,
    outcomes,
    outcomes_markdown,
)
from art_rl.schedules.rivals.statistics import RivalStatistics

VALUES = {  # (solver, K, method) -> blocks
    ("euler", 5, "art_rl_endpoint"): (1.0, 1.1, 1.2),
    ("euler", 5, "edm"): (2.0, 2.1, 2.2),
    ("euler", 5, "ld3"): (1.005, 1.106, 1.206),  # paired difference tiny but steady: 0.5 %
    ("euler", 5, "gits"): (0.9, 1.0, 1.1),
    ("heun", 3, "art_rl_endpoint"): (0.5, 0.5, 0.5),
    ("heun", 3, "edm"): (0.8, 0.8, 0.8),
    ("heun", 3, "gits"): (0.3, 0.7, 0.55),  # paired spread larger than the difference
}
NFE = {("euler", 5): 5, ("heun", 3): 5}


def cells():
    return [
        {
            "solver": solver,
            "K": K,
            "method": name,
            "block": block,
            "nfe": NFE[solver, K],
            "rmse": value,
        }
        for (solver, K, name), values in VALUES.items()
        for block, value in enumerate(values)
    ]


def test_outcomes():
    found = {
        (r["solver"], r["baseline"]): r["outcome"]
        for r in outcomes(cells(), "art_rl_endpoint", "rmse")
    }
    assert found == {
        ("euler", "edm"): "win",
        ("euler", "ld3"): "tie",
        ("euler", "gits"): "loss",
        ("heun", "edm"): "win",
        ("heun", "gits"): "tie",
    }


def test_outcomes_as_markdown():
    text = outcomes_markdown(outcomes(cells(), "art_rl_endpoint", "rmse"), "m", "art_rl_endpoint")
    assert "| GITS | 0 / 0 / 1 | 0 / 1 / 0 | 0 / 1 / 1 |" in text
    assert "| EDM (rho = 7) | 1 / 0 / 0 | 1 / 0 / 0 | 2 / 0 / 0 |" in text
    assert "| **the best of all others** | 0 / 0 / 1 | 0 / 1 / 0 | **0 / 1 / 1** |" in text
    assert "| Euler | 5 | GITS | 1.00 | 1.10 | 1.100 ±" in text


def test_the_frontier_takes_the_best_pair_of_each_side():
    rows = frontier_rows(cells(), "rmse")
    found = {(r["side"], r["nfe"]): (r["solver"], r["method"], r["K"]) for r in rows}
    assert found == {
        ("ART-RL", 5): ("heun", "art_rl_endpoint", 3),
        ("Rivals", 5): ("heun", "gits", 3),
        ("Without learning", 5): ("heun", "edm", 3),
    }
    assert frontier_rows(cells(), "rmse", most=4) == []
    # More calls for a worse end are no point of the frontier.
    worse = [{**row, "nfe": 8, "rmse": 9.0} for row in cells()]
    assert frontier_rows([*cells(), *worse], "rmse") == rows
    assert "| NFE 5 | 0.500 (Heun, ART-RL (endpoint reward))" in frontier_markdown(rows, "m")


def test_the_adaptive_solver_is_points_beside_the_frontier():
    adaptive = [{"nfe": calls, "rmse": 1 / calls} for calls in (21, 27, 51, 99)]
    figure = frontier_figure(frontier_rows(cells(), "rmse"), adaptive)
    (line,) = [
        line for line in figure.axes[0].get_lines() if line.get_label() == "Adaptive (dopri5)"
    ]
    np.testing.assert_array_equal(line.get_xdata(), [21, 27, 51])  # 99 calls leave the figure
    np.testing.assert_allclose(line.get_ydata(), [1 / 21, 1 / 27, 1 / 51])
    assert line.get_linestyle() == "None"


def test_figures_repeat_byte_for_byte(tmp_path):
    s, t = np.geomspace(80, 0.002, 120), np.geomspace(80, 0.002, 9)
    rng = np.random.default_rng(0)
    statistics = RivalStatistics(
        s,
        1 / (1 + s**-2),
        np.ones(119),
        rng.uniform(size=(120, 120)),
        t,
        np.triu(rng.normal(size=(9, 9)), 1),
        {},
        "digest",
    )
    for draw in (
        lambda: frontier_figure(frontier_rows(cells(), "rmse")),
        lambda: statistics_figure(statistics),
    ):
        first, second = tmp_path / "a.png", tmp_path / "b.png"
        save(draw(), [first])
        save(draw(), [second])
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 5000


def test_every_rival_is_a_row_of_its_own():
    rivals = [m.id for m in METHODS.values() if m.group == RIVAL]
    published = ["gits", "dmn", "score_optimal", "entropic", "elbo", "ays", "oss", "ld3"]
    assert rivals[: len(published)] == published
