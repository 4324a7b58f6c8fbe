"""`python -m art_rl.report.check_numbers` accepts what the tolerance allows and names what it does not."""

import pytest

from art_rl.files import write_json
from art_rl.report.check_numbers import Known, compare_folders, compare_rows, main
from art_rl.report.tables import write_rows


def row(method, K, blocks, model="gmm1d", metric="rmse"):
    cells = {f"block_{b}": value for b, value in enumerate(blocks)}
    mean = sum(blocks) / len(blocks)
    head = {"model": model, "metric": metric, "source": "ours", "method": method, "K": K}
    return head | {"mean": mean, "best": True} | cells


ROWS = [
    row("edm", 5, [0.5, 0.52]),
    row("art_rl_feedback", 5, [0.25, 0.26]),
    {"learner": "feedback", "seed": 0, "ratio": 1.01, "verdict": "converged"},
    {"metric": "rmse", "source": "floor", "label": "Reference's own error", "mean": 1e-5},
]
# Two methods that the blocks tell apart, and one that they do not.
DIGITS = [
    row("edm", 5, [2.0, 2.2, 2.1], "digits", "fid"),
    row("gaussian", 5, [1.0, 1.1, 1.05], "digits", "fid"),
    row("uniform", 5, [2.1, 2.1, 2.2], "digits", "fid"),
]


def changed(index, factor=1.0, rows=ROWS, **values):
    """The rows with the measured numbers of one of them times ``factor``."""
    rows = [dict(one) for one in rows]
    for key, value in rows[index].items():
        if key in ("mean", "ratio") or key.startswith("block_"):
            rows[index][key] = value * factor
    rows[index] |= values
    return rows


def verdicts(committed, fresh, **options):
    return [*compare_rows(committed, fresh, **options).counts.values()]


def test_rows_of_exact_models_are_held_to_the_tolerance_of_their_method():
    assert verdicts(ROWS, ROWS) == [4, 0, 0, 0]
    assert verdicts(ROWS, changed(0, 1 + 5e-7)) == [3, 1, 0, 0]
    found = compare_rows(ROWS, changed(0, mean=0.51001))
    assert [*found.counts.values()] == [3, 0, 0, 1]
    assert found.lines == [
        "model gmm1d, metric rmse, method edm, K 5: mean committed 0.51, fresh 0.51001"
    ]
    assert verdicts(ROWS, changed(1, 1.01)) == [3, 1, 0, 0]  # a learner
    assert verdicts(ROWS, changed(1, 1.1)) == [3, 0, 0, 1]
    assert verdicts(ROWS, changed(2, 1.03)) == [3, 1, 0, 0]
    # Closed forms of order p: from high derivatives, whose rounding another processor changes.
    order = [row("quadrature_order", 5, [0.026, 0.025], "gmm1d", "rmse")]
    assert verdicts(order, changed(0, 1 + 8e-5, order)) == [0, 1, 0, 0]
    assert verdicts(order, changed(0, 1 + 4e-4, order)) == [0, 0, 0, 1]


def test_errors_near_the_references_own_are_held_to_a_share_of_it():
    near = [row("edm", 18, [2e-5, 2e-5]), ROWS[3]]
    assert verdicts(near, changed(0, 1.01, near)) == [1, 1, 0, 0]  # 2e-7: 2 % of the floor
    assert verdicts(near, changed(0, 1.05, near)) == [1, 0, 0, 1]
    assert verdicts(near, changed(1, 1.04, near)) == [1, 1, 0, 0]
    assert verdicts(near, changed(1, 1.2, near)) == [1, 0, 0, 1]


def test_rows_of_networks_are_held_to_their_spread():
    options = {"networks": ["digits"]}
    assert verdicts(DIGITS, changed(0, 1.03, DIGITS), **options) == [2, 0, 1, 0]
    assert verdicts(DIGITS, changed(0, 1.09, DIGITS)) == [2, 0, 0, 1]  # were it exact
    assert verdicts(DIGITS, changed(0, 1.3, DIGITS), **options) == [2, 0, 0, 1]
    # All of them by the same factor, as another network would have it.
    whole = [changed(i, 1.08, DIGITS)[i] for i in range(3)]
    assert verdicts(DIGITS, whole, **options) == [0, 0, 3, 0]
    # Wide blocks say little of their mean: three times their standard deviation.
    wide = [row("edm", 5, [1.0, 2.0, 3.0], "digits", "fid")]
    assert verdicts(wide, changed(0, 1.9, wide), **options) == [0, 0, 1, 0]


def test_methods_that_are_told_apart_keep_their_order():
    wide = [row("edm", 5, [1.0, 2.0, 3.0], "digits"), row("gaussian", 5, [2.0, 3.0, 4.0], "digits")]
    within = [wide[0] | {}, changed(1, 0.5, wide)[1]]
    assert verdicts(wide, within, networks=["digits"]) == [1, 0, 1, 0]
    # Paired, the second is above the first by exactly 1 in each block; now below by 1.
    turned = [wide[0], row("gaussian", 5, [0.0, 1.0, 2.0], "digits")]
    found = compare_rows(wide, turned, ["digits"])
    assert found.counts == {"equal": 1, "within tolerance": 0, "within spread": 1, "off": 1}
    assert found.lines == [
        "K = 5: edm is clearly below gaussian in the committed table and above it in the fresh one"
    ]


def wins(learned, mean, baseline_mean, **values):
    """A row of a table of wins: the best learned method against EDM."""
    head = {"form": "best", "solver": "rk4", "metric": "rmse", "baseline": "edm", "K": 18}
    means = {"baseline_mean": baseline_mean, "learned": learned, "learned_mean": mean}
    return head | means | {"ratio": mean / baseline_mean, "spread": 0.001} | values


def test_another_choice_of_as_good_a_mean_is_no_other_row():
    old = [wins("art_rl_endpoint", 0.1, 0.2)]
    assert verdicts(old, [wins("gauss_newton", 0.101, 0.2)]) == [0, 1, 0, 0]
    assert verdicts(old, [wins("gauss_newton", 0.15, 0.2)]) == [0, 0, 0, 1]
    fixed = [old[0] | {"form": "art_rl_endpoint"}]
    assert verdicts(fixed, [fixed[0] | {"learned": "art_rl"}]) == [0, 0, 0, 2]
    point = {"metric": "rmse", "nfe": 9, "side": "rivals", "mean": 0.1}
    frontier = [point | {"solver": "heun", "method": "gits", "K": 5}]
    other = [point | {"solver": "euler", "method": "oss", "K": 9}]
    assert verdicts(frontier, other) == [1, 0, 0, 0]
    assert verdicts(frontier, [other[0] | {"mean": 0.2}]) == [0, 0, 0, 1]
    assert verdicts(frontier, [other[0] | {"nfe": 10}]) == [0, 0, 0, 2]


def test_tables_made_from_others_are_held_to_what_those_say():
    """RK4's errors at the reference's own were held to 1e-6 in the tables of wins, a ratio of two too."""
    floor = {"model": "gmm1d", "metric": "rmse", "source": "floor", "mean": 1e-5}
    known = Known.of([[floor, {**floor, "mean": 2e-5}, {**floor, "metric": "w2", "mean": 1.0}]])
    assert known.floors == {"gmm1d": 1e-5}
    old = [wins("art_rl_endpoint", 2e-5, 3e-5)]
    near = [wins("art_rl_endpoint", 2e-5, 3.04e-5)]  # 4e-7 of 5e-7 allowed
    options = {"model": "gmm1d", "known": known}
    assert verdicts(old, near) == [0, 0, 0, 1]
    assert verdicts(old, near, **options) == [0, 1, 0, 0]
    assert verdicts(old, [wins("art_rl_endpoint", 2e-5, 3.1e-5)], **options) == [0, 0, 0, 1]
    assert verdicts(old, near, known=known, model="other") == [0, 0, 0, 1]
    # A ratio alone that is off is seen.
    assert verdicts(old, [old[0] | {"ratio": 0.8}], **options) == [0, 0, 0, 1]


def test_means_of_networks_in_other_tables_have_the_spread_of_their_cells():
    wide = row("edm", 18, [1.0, 2.0, 3.0], "digits", "fid") | {"solver": "rk4"}
    known = Known.of([[wide]])
    old = [wins("art_rl_endpoint", 1.5, 2.0, metric="fid")]
    moved = [wins("art_rl_endpoint", 1.5, 4.0, metric="fid")]
    options = {"networks": ["digits"], "model": "digits"}
    assert verdicts(old, moved, known=known, **options) == [0, 0, 1, 0]
    assert verdicts(old, moved, known=Known(), **options) == [0, 0, 0, 1]
    assert verdicts(old, moved, known=known) == [0, 0, 0, 1]
    # No blocks of the learned row are known: a tenth.
    far = [wins("art_rl_endpoint", 1.8, 2.0, metric="fid")]
    assert verdicts(old, far, known=known, **options) == [0, 0, 0, 1]


def test_costs_are_ratios_to_a_mean_that_stands_elsewhere():
    line = {"model": "gmm1d", "solver": "rk4", "K": 18, "method": "quadrature", "metric": "rmse"}
    old = [line | {"evaluations": 7, "mean": 2e-5, "ratio": 2 / 3}]
    known = Known({"gmm1d": 1e-5}, {})
    assert verdicts(old, [old[0] | {"ratio": 0.6667 * 0.985}], known=known) == [0, 1, 0, 0]
    assert verdicts(old, [old[0] | {"ratio": 0.6667 * 0.9}], known=known) == [0, 0, 0, 1]
    assert verdicts(old, [old[0] | {"evaluations": 8}], known=known) == [0, 0, 0, 1]


def test_a_table_belongs_to_the_longest_name_it_begins_with(tmp_path):
    kinds = {"gmm1d": {"target": {}}, "gmm1d_edm": {"kind": "image"}}
    for folder, mean in (("a", 1.0), ("b", 1.05)):
        (tmp_path / folder).mkdir()
        for model in kinds:
            write_rows(tmp_path / folder / f"{model}_wins.csv", [wins("art_rl", mean, 1.0)])
        write_json(tmp_path / folder / "provenance.json", {"config": {"models": kinds}})
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found["gmm1d_edm_wins.csv"].counts["within spread"] == 1
    assert found["gmm1d_wins.csv"].counts["off"] == 1


def test_marks_are_not_compared_but_rows_are():
    assert verdicts(ROWS, changed(0, best=False)) == [4, 0, 0, 0]
    assert verdicts(ROWS, ROWS[::-1]) == [4, 0, 0, 0]  # the order says nothing
    assert verdicts(ROWS, changed(0, K=6)) == [3, 0, 0, 2]  # one missing, one too many
    assert compare_rows(ROWS, ROWS[1:]).lines == [
        "model gmm1d, metric rmse, method edm, K 5: missing"
    ]
    fewer = [{k: v for k, v in one.items() if k != "block_1"} for one in ROWS]
    assert verdicts(ROWS, fewer) == [2, 0, 0, 2]
    assert verdicts(ROWS, changed(0, mean=float("nan"))) == [3, 0, 0, 1]


def test_exit_status_and_the_printed_table(tmp_path, capsys):
    kinds = {"gmm1d": {"target": {}}, "digits": {"kind": "image"}}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_rows(tmp_path / folder / "t.csv", ROWS)
        write_rows(tmp_path / folder / "digits_wins.csv", [{"form": "best", "K": 2, "ratio": 0.5}])
        write_rows(tmp_path / folder / "timings.csv", [{"seconds": ord(folder)}])
        write_json(tmp_path / folder / "provenance.json", {"config": {"models": kinds}})
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(both) == 0
    # A table without a column of models belongs to the one its name begins with.
    write_rows(tmp_path / "b/digits_wins.csv", [{"form": "best", "K": 2, "ratio": 0.52}])
    assert main(both) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-6] == "table            equal  within tolerance  within spread  off"
    assert printed[-5].split() == ["digits_wins.csv", "0", "0", "1", "0"]
    assert printed[-4].split() == ["t.csv", "4", "0", "0", "0"]
    assert printed[-3].split() == ["all", "4", "0", "1", "0"]
    assert printed[-1].endswith("nothing is off")
    write_rows(tmp_path / "b/t.csv", changed(0, mean=0.6))
    assert main(both) == 1
    assert "t.csv: model gmm1d, metric rmse, method edm, K 5: mean" in capsys.readouterr().out
    (tmp_path / "b/t.csv").unlink()
    assert main(both) == 1
    assert "t.csv: missing in" in capsys.readouterr().out
    assert main([str(tmp_path / "b/none"), str(tmp_path / "a")]) == 1
    (tmp_path / "a/provenance.json").write_text("[]")
    assert main(both) == 1
    assert main([]) == 2


@pytest.mark.parametrize("steps", [1, 3, 64, 100])
def test_a_clock_read_at_any_budget(steps):
    import numpy as np

    from art_rl.schedules.clock import read_clock

    levels = 80.0 * (1 - np.arange(129) / 128) ** 3
    read = read_clock(levels, steps)
    assert read[0] == 80.0 and read[-1] == 0.0 and (np.diff(read) < 0).all()
    # The clock itself is known: (1 - t)^3.  PCHIP on 128 cells is good to 1e-3 of each level + offset.
    exact = 80.0 * (1 - np.arange(steps + 1) / steps) ** 3
    np.testing.assert_allclose(read, exact, rtol=2e-3, atol=2e-4)
    np.testing.assert_array_equal(read_clock(levels, 128), levels)
