"""Learned against hand-made schedules: outcomes are paired over seed blocks, and counted."""

import pytest

from art_rl.report.comparison import compare, comparison_markdown


def rows(values, metric="rmse"):
    return [
        {"solver": "heun", "K": 5, "nfe": 9, "method": method, "block": block, metric: value}
        for method, runs in values.items()
        for block, value in enumerate(runs)
    ]


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([1.0, 2.0, 3.0], "win"),  # always 1 below, whatever the spread between blocks
        ([3.0, 4.0, 5.0], "loss"),
        ([1.0, 4.2, 3.9], "tie"),  # below, above, below
    ],
)
def test_outcomes_are_paired(ours, outcome):
    cells = rows({"edm": [2.0, 3.0, 4.0], "art_rl_endpoint": ours, "art_rl_paper": [9.0] * 3})
    (result,) = compare(cells, ["art_rl_paper", "art_rl_endpoint"], ["edm"], "rmse")
    assert result["learned"] == "art_rl_endpoint"
    assert result["outcome"] == outcome
    assert result["ratio"] == pytest.approx(sum(ours) / 9)


def test_comparison_counts_and_lists_what_is_not_won():
    cells = rows(
        {
            "edm": [2.0, 3.0],
            "gaussian": [0.5, 0.4],
            "art_rl_endpoint": [1.0, 2.0],
            "art_rl_paper": [5.0, 6.0],
        }
    )
    baselines = ["edm", "gaussian"]
    forms = {
        form: compare(cells, [form], baselines, "rmse")
        for form in ("art_rl_endpoint", "art_rl_paper")
    }
    text = comparison_markdown(compare(cells, list(forms), baselines, "rmse"), forms, "m")
    assert "| EDM (rho = 7) | 1 / 0 / 0 | 1 / 0 / 0 |" in text
    assert "| **every hand-made schedule** | 0 / 0 / 1 | 0 / 0 / 1 |" in text
    assert "(paper's form) alone | 0 / 0 / 1 |" in text
    assert "Cells that are not won" in text


def test_a_budget_is_won_only_against_every_baseline():
    """A tie with a baseline that has a higher mean than another, which is beaten, is a tie."""
    cells = rows({"edm": [2.0] * 3, "gaussian": [1.0, 5.0, 2.0], "art_rl_endpoint": [1.5] * 3})
    results = compare(cells, ["art_rl_endpoint"], ["edm", "gaussian"], "rmse")
    assert [result["outcome"] for result in results] == ["win", "tie"]
    text = comparison_markdown(results, {}, "m")
    assert "| **every hand-made schedule** | 0 / 1 / 0 | 0 / 1 / 0 |" in text
