"""What a schedule costs: what is counted, the ratio to EDM, table and figure."""

import pytest

from art_rl.errors import ArtRLError
from art_rl.report.cost_figure import cost_figure
from art_rl.report.costs import cost_rows, evaluations, reference_evaluations, summary
from art_rl.report.figures import save

VALUES = {  # (solver, K, method) -> blocks
    ("euler", 5, "edm"): (2.0, 2.2),
    ("euler", 5, "gits"): (1.0, 1.1),
    ("euler", 5, "art_rl"): (1.9, 2.3),
    ("euler", 5, "art_rl_endpoint"): (0.5, 0.55),
    ("euler", 9, "edm"): (1.0, 1.0),
    ("euler", 9, "art_rl_endpoint"): (0.5, 0.5),
    ("heun", 3, "edm"): (0.8, 0.8),
    ("heun", 3, "art_rl_endpoint"): (0.4, 0.4),
    ("heun", 4, "gits"): (0.3, 0.3),  # no EDM to compare with
}
DETAILS = {
    "edm": {},
    "gits": {"evaluations": 70},
    "art_rl": {"evaluations": 0},
    "art_rl_endpoint": {"evaluations": 900},
}
SHARED = {("art_rl", "euler"): 40, ("art_rl_endpoint", "euler"): 100}


def cells():
    return [
        {"model": "m", "solver": s, "K": K, "method": name, "block": block, "rmse": value}
        for (s, K, name), values in VALUES.items()
        for block, value in enumerate(values)
    ]


def provenances(details=DETAILS):
    return [
        {
            "solver": solver,
            "schedules": [
                {"method": name, "K": K, "provenance": {"details": details[name]}}
                for s, K, name in VALUES
                if s == solver
            ],
        }
        for solver in ("euler", "heun")
    ]


def test_rows():
    rows = cost_rows(cells(), provenances(), SHARED)
    found = {(r["solver"], r["K"], r["method"]): (r["evaluations"], r["ratio"]) for r in rows}
    assert found == {
        ("euler", 5, "gits"): (70, pytest.approx(0.5)),
        ("euler", 5, "art_rl"): (40, pytest.approx(1.0)),
        ("euler", 5, "art_rl_endpoint"): (1000, pytest.approx(0.25)),
        ("euler", 9, "art_rl_endpoint"): (1000, pytest.approx(0.5)),
        ("heun", 3, "art_rl_endpoint"): (900, pytest.approx(0.5)),
    }


def test_a_schedule_that_does_not_say_what_it_took_is_one_line():
    silent = provenances({**DETAILS, "gits": {}})
    with pytest.raises(ArtRLError, match="schedule gits, euler, K = 5: its provenance must hold"):
        cost_rows(cells(), silent, SHARED)


def test_evaluations_of_all_kinds_of_schedules():
    assert evaluations({"method": "edm"}) == 0
    assert evaluations({"method": "art_rl_feedback", "details": {"learned_steps": 512}}) == 0
    assert evaluations({"method": "gits", "details": {}}) is None
    assert evaluations({"method": "endpoint", "details": {"moments": {"evaluations": 7}}}) == 7
    assert evaluations({"method": "quadrature", "details": {"profile": {"evaluations": 5}}}) == 5
    own = {"evaluations": 10, "reference_evaluations": 3}
    assert evaluations({"method": "gauss_newton", "details": own}) == 13


@pytest.mark.parametrize("key", ["evaluations", "nfe_spent"])
def test_the_reference_of_an_endpoint_run_counts(key):
    report = {key: 100, "budgets": {"2": {key: 30}, "5": {key: 50}}}
    assert reference_evaluations({"report": report}) == 20


def test_summary_has_a_geometric_mean_per_solver():
    rows = cost_rows(cells(), provenances(), SHARED)
    (learned,) = [r for r in summary(rows) if r["Schedule"] == "ART-RL (endpoint reward)"]
    assert learned["Evaluations"] == "900 to 1,000"
    assert learned["Euler"] == "0.354" and learned["Heun"] == "0.500"  # sqrt(0.25 x 0.5)
    (gits,) = [r for r in summary(rows) if r["Schedule"] == "GITS"]
    assert (gits["Evaluations"], gits["Euler"], gits["Heun"]) == ("70", "0.500", "-")


def test_the_figure_has_a_panel_per_solver_and_repeats(tmp_path):
    rows = cost_rows(cells(), provenances(), SHARED)
    figure = cost_figure(rows)
    assert [axis.get_title() for axis in figure.axes] == ["m, Euler", "m, Heun"]
    points = {
        line.get_label(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in figure.axes[0].get_lines()
    }
    assert points["ART-RL (endpoint reward)"] == (1000, pytest.approx(0.125**0.5))
    for name in ("a", "b"):
        save(cost_figure(rows), [tmp_path / f"{name}.png"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
