"""docs/rivals.md repeats what the rules wrote into paper_figures/rivals."""

import json

import pytest
from pages import ROOT, by_label, tables

from art_rl.registry import SOLVERS
from art_rl.report.tables import number, read_rows

FOLDER = ROOT / "paper_figures/rivals"
DEFAULT = ROOT / "paper_figures/exact"
COSTS = ROOT / "benchmarks/results/learning_cost.json"
# What follows the solver's name, by variant of the learner.
ENDS = {"config": "", "small": ", small"}
MODELS = ("gmm1d_edm", "gmm64d", "digits")
ROWS = {
    "GITS": "gits",
    "DMN": "dmn",
    "Score-optimal": "score_optimal",
    "Rescaled entropic": "entropic",
    "ELBO": "elbo",
    "Align Your Steps": "ays",
    "OSS": "oss",
    "LD3 (L2)": "ld3",
    "Gauss-Newton (ours)": "gauss_newton",
}
SIDES = ("ART-RL", "Rivals", "Without learning")


def counts(outcomes):
    return " / ".join(str(outcomes.count(name)) for name in ("win", "tie", "loss"))


def test_wins_ties_and_losses():
    shown = by_label(tables("rivals.md", "## What came out")[0])
    for column, model in enumerate(MODELS):
        rows = [r for r in read_rows(FOLDER / f"{model}_rivals.csv") if r["metric"] == "rmse"]
        for label, method in ROWS.items():
            found = counts([r["outcome"] for r in rows if r["baseline"] == method])
            assert shown[label][column] == found, f"{label}, {model}"
        cells = {(r["solver"], r["K"]): r for r in rows}
        lowest = [
            min(
                (r for r in rows if (r["solver"], r["K"]) == cell),
                key=lambda r: r["baseline_mean"],
            )
            for cell in cells
        ]
        found = counts([r["outcome"] for r in lowest])
        assert shown["the best of all others"][column] == found, model


def test_decoupled_levels():
    shown = by_label(tables("rivals.md", "### Decoupled levels")[0])
    names = {"LD3 (L2)": "ld3", "LD3 (L2), decoupled": "ld3_decoupled"}
    names["ART-RL (endpoint reward)"] = "art_rl_endpoint"
    found, outcomes = {label: [] for label in names}, []
    for model, solver in (("gmm1d_edm", "heun"), ("gmm64d", "euler")):
        table = DEFAULT / f"rivals_{model}_{solver}_rmse.csv"
        means = {(r["method"], r["K"]): r["mean"] for r in read_rows(table) if "method" in r}
        for label, method in names.items():
            found[label] += [number(means[method, K]) for K in (5, 10)]
        outcomes += [
            row["outcome"]
            for row in read_rows(DEFAULT / f"{model}_rivals.csv")
            if (row["baseline"], row["metric"]) == ("ld3_decoupled", "rmse")
        ]
    assert {label: shown[label] for label in names} == found
    page = (ROOT / "docs/rivals.md").read_text(encoding="utf-8")
    assert sorted(outcomes) == ["loss", "loss", "loss", "tie"]
    assert "three wins over ART-RL's list and a tie" in page


@pytest.mark.parametrize(
    ("position", "model", "metric"),
    [(1, "gmm1d_edm", "rmse"), (2, "gmm64d", "rmse"), (3, "digits", "rmse"), (4, "digits", "fid")],
)
def test_best_pairs(position, model, metric):
    found = {
        (str(row["nfe"]), row["side"]): row["mean"]
        for row in read_rows(FOLDER / f"{model}_frontier.csv")
        if row["metric"] == metric
    }
    shown = tables("rivals.md", "## What came out")[position][2:]
    assert [row[0] for row in shown] == ["4", "5", "6", "8", "10"]
    for nfe, *cells in shown:
        for side, cell in zip(SIDES, cells, strict=True):
            right = f"{found[nfe, side]:.3g}" if (nfe, side) in found else "-"
            assert cell.split(" ")[0] == right, f"{model}, NFE {nfe}, {side}"


@pytest.mark.parametrize(("position", "metric"), [(0, "rmse"), (1, "fid")])
def test_best_pairs_on_mnist(position, metric):
    folder, learned = ROOT / "paper_figures/mnist_multistep", ["art_rl_endpoint"]
    cells = [
        {**row, "single": path.name.startswith("single")}
        for path in folder.glob(f"*step_mnist_*_{metric}.csv")
        for row in read_rows(path)
        if row.get("nfe")
    ]
    columns = [(learned, False), (learned, True), (["gits", "dmn"], None)]
    columns.append((["edm", "edm_no_sigma_min"], None))
    shown = tables("rivals.md", "## MNIST at 5 to 10")[position][2:]
    assert [row[0] for row in shown] == ["5", "6", "8", "10"]
    for nfe, *texts in shown:
        for (methods, single), text in zip(columns, texts, strict=True):
            pairs = [
                row
                for row in cells
                if row["method"] in methods
                and single in (None, row["single"])
                and row["nfe"] <= int(nfe)
            ]
            best = min(pairs, key=lambda row: row["mean"])
            label = SOLVERS[best["solver"]].label
            assert text == f"{best['mean']:.3g} ({label}, {best['nfe']})"


def test_outcomes_on_mnist():
    rows = read_rows(ROOT / "paper_figures/mnist_multistep/mnist_rivals.csv")
    assert len(rows) == 2 * 4 * 23
    assert {row["outcome"] for row in rows if row["metric"] == "rmse"} == {"win"}


def cost(cell, variant):
    """ART-RL until it is at LD3's RMSE / LD3 until it is at its own, as the page prints them."""
    found = [one["to_ld3"] for one in cell["art_rl"] if one["variant"] == variant]
    own = "-" if None in found else f"{max(found) / 1e6:.2g}"
    return f"{own} / {cell['ld3']['to_own'] / 1e6:.2g}"


def test_costs_of_learning():
    head, _, *shown = tables("rivals.md", "### What learning costs")[0]
    budgets = [int(text.removeprefix("K = ")) for text in head[2:]]
    cells = json.loads(COSTS.read_text(encoding="utf-8"))
    expected = {
        (c["model"], SOLVERS[c["solver"]].label + ENDS[one["variant"]], c["K"]): cost(
            c, one["variant"]
        )
        for c in cells
        for one in c["art_rl"]
    }
    found = {
        (model, label, K): text
        for model, label, *texts in shown
        for K, text in zip(budgets, texts, strict=True)
        if text
    }
    assert found == expected


def test_cells_where_learning_costs_no_more_than_back_propagation():
    shown = by_label(tables("rivals.md", "### What learning costs")[1])
    cells = json.loads(COSTS.read_text(encoding="utf-8"))

    def text(model, variant, no_more):
        pairs = [
            (one, cell["ld3"])
            for cell in cells
            if cell["model"] == model
            for one in cell["art_rl"]
            if one["variant"] == variant
        ]
        return f"{sum(map(no_more, pairs))} of {len(pairs)}" if pairs else "-"

    def to_quality(pair):
        return pair[0]["to_ld3"] is not None and pair[0]["to_ld3"] <= pair[1]["to_own"]

    def in_all(pair):
        return pair[0]["evaluations"] <= pair[1]["evaluations"]

    for label, variant, no_more in [
        ("as configured, to equal quality", "config", to_quality),
        ("as configured, in all", "config", in_all),
        ("small, to equal quality", "small", to_quality),
        ("small, in all", "small", in_all),
    ]:
        assert shown[label] == [text(model, variant, no_more) for model in MODELS], label
