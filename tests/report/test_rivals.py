"""Wins, ties and losses with the 1 % rule, prices and the frontier, on cells made by hand."""

import numpy as np
import pytest

from art_rl.registry import METHODS, RIVAL
from art_rl.report.figures import save
from art_rl.report.rival_figures import frontier_figure, price_figure, statistics_figure
from art_rl.report.rivals import (
    evaluations,
    frontier_markdown,
    frontier_rows,
    outcomes,
    outcomes_markdown,
    price_markdown,
    price_rows,
    reference_evaluations,
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


def provenances():
    spent = {"art_rl_endpoint": {"nfe_spent": 900}, "ld3": {"evaluations": 400}, "edm": {}}
    spent["gits"] = {"evaluations": 70}
    return [
        {
            "solver": solver,
            "schedules": [
                {"method": name, "K": k, "provenance": {"details": spent[name]}}
                for s, k, name in VALUES
                if s == solver
            ],
        }
        for solver in ("euler", "heun")
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


def test_prices():
    rows = price_rows(cells(), provenances(), "rmse")
    found = {(r["solver"], r["method"]): (r["evaluations"], round(r["ratio"], 6)) for r in rows}
    assert found["euler", "gits"] == (70, 1.0)
    assert found["euler", "art_rl_endpoint"] == (900, 1.1)
    assert found["euler", "edm"] == (0, 2.1)
    assert found["heun", "gits"][1] == pytest.approx(1.55 / 1.5, abs=1e-6)
    assert "| GITS | 70 | 1.00 | 1.03 |" in price_markdown(rows, "m")


def test_evaluations_of_all_kinds_of_schedules():
    assert evaluations({"method": "edm"}) == 0
    assert evaluations({"method": "x", "details": {}}) is None
    assert evaluations({"method": "endpoint", "details": {"moments": {"evaluations": 7}}}) == 7
    assert evaluations({"method": "quadrature", "details": {"profile": {"evaluations": 5}}}) == 5
    own = {"evaluations": 10, "reference_evaluations": 3}
    assert evaluations({"method": "gauss_newton", "details": own}) == 13


@pytest.mark.parametrize("key", ["evaluations", "nfe_spent"])
def test_the_reference_of_an_endpoint_run_counts(key):
    report = {key: 100, "budgets": {"2": {key: 30}, "5": {key: 50}}}
    assert reference_evaluations({"report": report}) == 20
    rows = price_rows(cells(), provenances(), "rmse", {"euler": 20})
    found = {(r["solver"], r["method"]): r["evaluations"] for r in rows}
    assert found["euler", "art_rl_endpoint"] == 920 and found["heun", "art_rl_endpoint"] == 900
    assert found["euler", "ld3"] == 400


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
        lambda: price_figure(price_rows(cells(), provenances(), "rmse")),
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
