"""docs/rivals.md repeats what the rules wrote into paper_figures/rivals."""

import json

import pytest
from pages import ROOT, by_label, tables

from art_rl.registry import SOLVERS
from art_rl.report.tables import number, read_rows

FOLDER = ROOT / "paper_figures/rivals"
DECOUPLED = ROOT / "paper_figures/decoupled"
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
    head, _, *shown = tables("rivals.md", "### Decoupled levels")[0]
    shown = {row[0]: row[1:] for row in shown}
    labels = {"EDM (rho = 7)": "edm", "Arctan": "arctan", "LD3 (L2)": "ld3"}
    labels |= {
        "LD3 (L2), decoupled": "ld3_decoupled",
        "ART-RL (endpoint reward)": "art_rl_endpoint",
    }
    labels["ART-RL (endpoint), decoupled"] = "art_rl_decoupled"
    solvers = {"Euler": "euler", "Heun": "heun", "iPNDM-3": "ipndm3"}
    assert set(shown) == set(labels)
    ratios, lowest = {}, []
    for column, title in enumerate(head[1:]):
        model, solver = title.split(", ")
        rows = read_rows(DECOUPLED / f"decoupled_{model}_{solvers[solver]}_rmse.csv")
        means = {(r["method"], r["K"]): r["mean"] for r in rows if "method" in r}
        for label, method in labels.items():
            found = " / ".join(number(means[method, K]) for K in (5, 10) if (method, K) in means)
            assert shown[label][column] == found, (label, title)
        for K in {k for _, k in means}:
            cell = {method: mean for (method, k), mean in means.items() if k == K}
            ratios[title, K] = [
                cell["art_rl_decoupled"] / cell[m] for m in ("art_rl_endpoint", "ld3_decoupled")
            ]
            lowest.append(min(cell, key=cell.__getitem__))
    page = (ROOT / "docs/rivals.md").read_text(encoding="utf-8")
    alone, theirs = zip(*ratios.values(), strict=True)
    assert lowest.count("art_rl_decoupled") == 14 and len(lowest) == 15
    assert f"{ratios['gmm64d, Heun', 10][0]:.2f}" == f"{max(alone):.2f}" == "1.06"
    spread = f"{min(alone):.2f} to {sorted(alone)[-2]:.2f} of its one list's"
    assert spread in page and f"{min(theirs):.2f} to {max(theirs):.2f} of LD3's two" in page
    fids = read_rows(DECOUPLED / "decoupled_digits_euler_fid.csv")
    fids = {(r["method"], r["K"]): number(r["mean"]) for r in fids if "method" in r}
    both, one = ([fids[m, K] for K in (5, 10)] for m in ("art_rl_decoupled", "art_rl_endpoint"))
    assert f"is {both[0]} for the list's {one[0]} at K = 5 and {both[1]} for {one[1]} at 10" in page
    less = [f"{100 - 100 * ratios['digits, Euler', K][0]:.0f}" for K in (5, 10)]
    assert f"with an RMSE {less[0]} and {less[1]} % lower" in page
    home = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"takes another {less[0]} to {less[1]} % off Euler's error on digits" in home
    spent = {
        (r["model"], r["solver"], r["K"], r["method"]): r["evaluations"]
        for r in read_rows(DECOUPLED / "costs.csv")
    }
    more = [
        value / spent[*cell, "art_rl_endpoint"]
        for (*cell, method), value in spent.items()
        if method == "art_rl_decoupled"
    ]
    assert len(more) == 15
    assert f"They cost {min(more):.1f} to {max(more):.1f} times the evaluations of the one" in page


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
