"""`python -m art_rl.report.check_numbers` accepts what the tolerance allows and names what it does not."""

import pytest

from art_rl.report.check_numbers import compare_rows, main
from art_rl.report.tables import write_rows

ROWS = [
    {"method": "edm", "K": 5, "mean": 0.5, "best": True},
    {"method": "art_rl_feedback", "K": 5, "mean": 0.25, "best": False},
    {"learner": "feedback", "seed": 0, "ratio": 1.01, "verdict": "converged"},
]


def changed(index, **values):
    return [row | values if i == index else row for i, row in enumerate(ROWS)]


def test_tolerance_depends_on_the_method():
    assert compare_rows(ROWS, changed(0, mean=0.5 * (1 + 5e-7))) == []
    assert compare_rows(ROWS, changed(0, mean=0.5 * (1 + 1e-5))) == [
        "line 2, mean: committed 0.5, fresh 0.500005"
    ]
    assert compare_rows(ROWS, changed(1, mean=0.25 * 1.01)) == []
    assert len(compare_rows(ROWS, changed(1, mean=0.25 * 1.1))) == 1
    assert compare_rows(ROWS, changed(2, ratio=1.03)) == []


def test_marks_are_not_compared_but_keys_and_rows_are():
    assert compare_rows(ROWS, changed(0, best=False)) == []
    assert len(compare_rows(ROWS, changed(0, K=6))) == 1
    assert compare_rows(ROWS, ROWS[:-1]) == ["3 rows committed, 2 fresh"]


def test_exit_status(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_rows(tmp_path / folder / "t.csv", ROWS)
        write_rows(tmp_path / folder / "timings.csv", [{"seconds": ord(folder)}])
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    write_rows(tmp_path / "b/t.csv", changed(0, mean=0.6))
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "t.csv: line 2, mean: committed 0.5, fresh 0.6" in capsys.readouterr().out
    (tmp_path / "b/t.csv").unlink()
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert main([str(tmp_path / "b/none"), str(tmp_path / "a")]) == 1
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
