"""Tables: arithmetic of means, ties and blocks; CSV exactness; what must be refused."""

import math

import pytest

from art_rl.errors import ArtRLError
from art_rl.files import read_json
from art_rl.registry import METHODS, method
from art_rl.report.latex import to_latex
from art_rl.report.tables import (
    REFERENCE_ERROR,
    build_table,
    number,
    paper_block,
    read_rows,
    table_rows,
    to_markdown,
    write_rows,
)


def cell(name, K, block, w2, converged=True):
    return {
        "model": "m",
        "method": name,
        "solver": "euler",
        "K": K,
        "nfe": K,
        "block": block,
        "w2": w2,
        "rmse": 2 * w2,
        "converged": converged,
    }


@pytest.fixture
def rows():
    # gaussian is best; edm is tied with it (paired excess 0.01, 0.01, -0.02: mean 0 <= sd);
    # uniform is worse in every block.
    values = {
        "uniform": [0.50, 0.52, 0.54],
        "edm": [0.31, 0.33, 0.32],
        "gaussian": [0.30, 0.32, 0.34],
    }
    values["edm"] = [0.311, 0.331, 0.321]
    return [cell(name, 5, b, value) for name, run in values.items() for b, value in enumerate(run)]


def test_mean_sd_best_and_paired_tie(rows):
    table = build_table(rows, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5])
    gaussian, edm, uniform = (table.entries[m, 5] for m in ("gaussian", "edm", "uniform"))
    assert gaussian.best and not edm.best and not uniform.best
    assert math.isclose(gaussian.mean, 0.32, rel_tol=1e-12)
    assert math.isclose(gaussian.sd, 0.02, rel_tol=1e-12)
    # The excess of edm over gaussian is 0.011, 0.011, -0.019: mean 0.001, sd 0.0173.
    assert edm.tied
    # The excess of uniform is 0.2 in every block: never a tie, although the sd of its runs is 0.02.
    assert not uniform.tied and not gaussian.tied


def test_one_block_has_no_ties_but_equal_values(rows):
    single = [row for row in rows if row["block"] == 0]
    table = build_table(single, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5])
    assert not any(entry.tied for entry in table.entries.values())
    assert "±" not in to_markdown(table).split("\n- ")[0] and "≈" not in to_markdown(table)
    # The same list twice, as EDM's and DPM's at K = 2: only the first row was marked.
    single[1]["w2"] = single[2]["w2"]
    table = build_table(single, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5])
    assert [table.entries[m, 5].tied for m in ("uniform", "edm", "gaussian")] == [
        False,
        False,
        True,
    ]
    assert table.entries["edm", 5].best and "≈: the same value" in to_markdown(table)


def test_bold_tie_marks_and_paper_block_apart(rows):
    paper = {"source": "P", "note": "n", "budgets": [5], "rows": {"EDM": [0.319]}}
    table = build_table(
        rows, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5], {"floor": 0.01}, paper
    )
    text = to_markdown(table)
    ours, theirs = text.split("**P**")
    assert "| Gaussian | **0.320** ± 0.020 |" in ours
    assert "| EDM (rho = 7) | 0.321 ± 0.010 ≈ |" in ours
    assert "0.319" in theirs and "0.319" not in ours
    tex = to_latex(table)
    assert tex.index(r"\textbf{0.320}") < tex.index(r"\emph{P (n)}") < tex.index("0.319")
    assert r"EDM ($\rho = 7$)" in tex
    sources = [row["source"] for row in table_rows(table)]
    assert sources == ["ours"] * 3 + ["floor", "paper"]


def test_ratios_to_edm_stand_beside_the_paper_s(rows):
    rows += [cell("art_rl_endpoint", 5, b, 0.5 * v) for b, v in enumerate([0.311, 0.331, 0.321])]
    paper = {
        "source": "P",
        "note": "n",
        "budgets": [5],
        "rows": {"EDM": [4.0], "ART-RL": [3.0], "Uniform": [9.0]},
    }
    text = to_markdown(
        build_table(rows, "m", "euler", "w2", ["edm", "art_rl_endpoint"], [5], paper=paper)
    )
    ours, theirs = text.split("**Ratio to EDM**")[1].strip().splitlines()[-2:]
    assert ours.startswith("| ART-RL (endpoint") and ours.endswith("| 0.50 |")
    assert theirs == "| the paper's ART-RL | 0.75 |"
    # Other budgets than the paper's: no ratios side by side.
    other = {**paper, "budgets": [6]}
    text = to_markdown(
        build_table(rows, "m", "euler", "w2", ["edm", "art_rl_endpoint"], [5], paper=other)
    )
    assert "Ratio" not in text


def test_what_the_reference_does_not_resolve_is_marked_and_tied(rows):
    """RMSE is measured against a solution that is off itself: below that, and by less, nothing is told."""
    for row in rows:
        row["rmse"] = row["w2"]
    methods = ["uniform", "edm", "gaussian"]
    plain = build_table(rows, "m", "euler", "rmse", methods, [5])
    assert all(entry.resolved for entry in plain.entries.values()) and "§" not in to_markdown(plain)
    assert "resolved" not in table_rows(plain)[0]
    table = build_table(rows, "m", "euler", "rmse", methods, [5], {REFERENCE_ERROR: 0.3205})
    uniform, edm, gaussian = (table.entries[name, 5] for name in methods)
    assert not gaussian.resolved and edm.resolved and uniform.resolved
    assert edm.tied and uniform.tied  # 0.2 apart: less than the reference is off
    assert "| Gaussian | **0.320** ± 0.020 § |" in to_markdown(table)
    assert f"| *{REFERENCE_ERROR}* | 0.321 |" in to_markdown(table)
    assert "§: at or below the reference solution's own error" in to_markdown(table)
    assert r"$^{\S}$" in to_latex(table)
    assert [row.get("resolved") for row in table_rows(table)] == [True, True, False, None]
    # one block has no spread of its own, the reference's error holds all the same
    single = [row for row in rows if row["block"] == 0]
    table = build_table(single, "m", "euler", "rmse", methods, [5], {REFERENCE_ERROR: 0.05})
    assert table.entries["edm", 5].tied and not table.entries["uniform", 5].tied
    assert "- ≈: the same value, or not further from it" in to_markdown(table)  # was unexplained
    assert all(entry.resolved for entry in table.entries.values())


def test_not_converged_is_flagged(rows):
    for row in rows:
        row["converged"] = row["method"] != "edm"
    table = build_table(rows, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5])
    assert "‡" in to_markdown(table) and "not converged" in to_markdown(table)
    assert r"\ddagger" in to_latex(table)
    for row in rows:
        row["converged"] = True
    table = build_table(rows, "m", "euler", "w2", ["uniform", "edm", "gaussian"], [5])
    assert "‡" not in to_markdown(table)


def test_missing_cell_uneven_blocks_and_nan_are_refused(rows):
    with pytest.raises(ArtRLError, match="no cell for m, euler, arctan, K = 5"):
        build_table(rows, "m", "euler", "w2", ["edm", "arctan"], [5])
    with pytest.raises(ArtRLError, match="seed blocks"):
        build_table(rows[:-1], "m", "euler", "w2", ["edm", "gaussian"], [5])
    rows[0]["w2"] = math.nan
    with pytest.raises(ArtRLError, match="w2 of m, euler, uniform, K = 5"):
        build_table(rows, "m", "euler", "w2", ["uniform"], [5])


def test_csv_is_exact(tmp_path, rows):
    rows[0]["w2"] = 0.1 + 0.2
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    with pytest.raises(ArtRLError, match="no such file"):
        read_rows(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.32, "0.320"),
        (38.53, "38.5"),
        (0.00949, "0.00949"),
        (123.4, "123"),
        (0.0, "0"),
        (1e-8, "1.00e-08"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_paper_block_only_for_its_metric():
    numbers = {
        "source": "2607.02137, as transcribed",
        "tables": {
            "table_1": {"data": "1-D", "metric": "Wasserstein-2", "K": [2], "rows": {"EDM": [0.6]}}
        },
    }
    assert paper_block(numbers, "table_1", "w2")["budgets"] == [2]
    assert paper_block(numbers, "table_1", "rmse") is None
    with pytest.raises(ArtRLError, match="no paper table 'table_9'"):
        paper_block(numbers, "table_9", "w2")


def test_shipped_paper_table_1():
    import art_rl

    path = art_rl.__path__[0] + "/report/paper_tables.json"
    block = paper_block(read_json(path), "table_1", "w2")
    assert block["rows"]["ART-RL"] == [0.345, 0.149, 0.079, 0.042, 0.02, 0.013]


def test_methods_know_their_solvers():
    assert METHODS["edm"].schedule_solver("heun") == "any"
    assert METHODS["endpoint"].schedule_solver("heun") == "heun"
    assert not METHODS["quadrature_order"].runs_with("euler")
    with pytest.raises(ArtRLError, match="unknown method 'emd'; known: uniform"):
        method("emd")
