"""Tables that a page repeats are those of the committed run, to the digits that it prints."""

import re

import numpy as np
import pytest
from pages import ROOT, by_label, tables

from art_rl.experiments.plan import make_plan
from art_rl.files import read_json, read_json_lines
from art_rl.report.tables import read_rows
from art_rl.schedules.hand_made import BASELINES
from art_rl.settings.experiment import check_configuration
from art_rl.settings.load import load

TABLES = ROOT / "paper_figures/mnist"
ROWS = {
    "Uniform": "uniform",
    "DPM": "dpm",
    "EDM": "edm",
    "ART closed form, order p": "quadrature_order",
    "Gauss-Newton": "gauss_newton",
    "ART-RL (paper's form)": "art_rl_paper",
    "ART-RL (endpoint reward)": "art_rl_endpoint",
}


def means(table):
    """method -> values at the table's budgets, as a rule wrote them."""
    found = {}
    for row in read_rows(TABLES / f"{table}.csv"):
        if row["source"] == "ours":
            found.setdefault(row["method"], []).append(row["mean"])
    return found


def blocks(table, count):
    """(method, K) -> values of the first ``count`` seed blocks."""
    return {
        (row["method"], row["K"]): np.array([row[f"block_{b}"] for b in range(count)])
        for row in read_rows(TABLES / f"{table}.csv")
        if row["source"] == "ours"
    }


def words(page):
    """A page as one line."""
    return " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())


def as_printed(text, value):
    """Whether ``text`` is ``value`` rounded to the digits of ``text``."""
    decimals = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5000001 * 10.0**-decimals


def test_mnist_table_4_on_the_page_is_the_committed_one():
    fid, rmse = means("table4_mnist_rk4_fid_all"), means("table4_mnist_rk4_rmse")
    shown = by_label(
        tables("images.md", "**Table 4 (RK4), LeNet-FID of 10,000 images / endpoint RMSE.**")[0]
    )
    assert ROWS.keys() <= shown.keys()
    for label, method in ROWS.items():
        for index, cell in enumerate(shown[label]):
            for text, value in zip(
                cell.split(" / "), (fid[method][index], rmse[method][index]), strict=True
            ):
                assert as_printed(text, value), (
                    f"{label}, column {index}: {text}, the run has {value}"
                )


def test_ratios_to_edm_on_the_page_are_those_of_the_tables():
    fid = means("table4_mnist_rk4_fid_all")
    shown = by_label(tables("images.md", "| LeNet-FID over EDM's")[0])
    paper = read_json(ROOT / "src/art_rl/report/paper_tables.json")["tables"]["table_4"]["rows"]
    pairs = {
        "ART-RL (paper's form)": (fid["art_rl_paper"], fid["edm"]),
        "ART-RL (endpoint reward)": (fid["art_rl_endpoint"], fid["edm"]),
        "the papers' ART-RL": (paper["ART-RL"], paper["EDM"]),
    }
    for label, (ours, edm) in pairs.items():
        for text, a, b in zip(shown[label], ours, edm, strict=True):
            assert as_printed(text, a / b), f"{label}: {text}, the tables have {a / b}"


def in_words(values):
    """FIDs as the page's sentences write them."""
    return ", ".join(f"{v:.0f}" if v >= 15 else f"{v:.1f}" for v in values)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            "table3_mnist_euler",
            "(EDM's FID {edm}; papers' form {art_rl_paper}; endpoint reward {art_rl_endpoint})",
        ),
        (
            "table2_mnist_heun",
            "FID {art_rl_paper} (papers' form) and {art_rl_endpoint} (endpoint reward) against EDM's {edm};",
        ),
        ("table4_rest_mnist_rk4", "(FID {art_rl}: both solve the same problem)"),
    ],
)
def test_fids_in_sentences_are_those_of_the_tables(table, sentence):
    rows = {method: in_words(values) for method, values in means(f"{table}_fid").items()}
    assert sentence.format(**rows) in words("images.md")


@pytest.mark.parametrize(
    ("method", "label"), [("art_rl_paper", "papers' form"), ("art_rl_endpoint", "endpoint reward")]
)
def test_paired_differences_to_edm_are_those_of_the_blocks(method, label):
    values = blocks("table4_mnist_rk4_fid", 5)
    (stated,) = re.findall(label + r" ([+-][^;]*?\(18\))", words("images.md"))
    found = re.findall(r"([+-][\d.]+) ± ([\d.]+) \((?:K = )?(\d+)", stated)
    assert [int(K) for *_, K in found] == [3, 5, 7, 10, 18]
    for mean, spread, K in found:
        gaps = values[method, int(K)] - values["edm", int(K)]
        assert as_printed(mean, gaps.mean()) and as_printed(spread, gaps.std(ddof=1)), (label, K)


def test_rows_that_learn_nothing_are_compared_on_the_same_blocks():
    values = blocks("table4_mnist_rk4_rmse", 3) | blocks("table4_rest_mnist_rk4_rmse", 3)
    labels = {
        "EDM without sigma_min": "edm_no_sigma_min",
        "Endpoint (convex)": "endpoint",
        "ART-RL (endpoint reward)": "art_rl_endpoint",
    }
    found = {
        label: np.array([values[method, K] for K in (2, 3, 5, 7, 10, 18)])
        for label, method in labels.items()
    }
    shown = by_label(tables("images.md", "in the same three blocks:")[0])
    for label, rows in found.items():
        for text, value in zip(shown[label], rows.mean(1), strict=True):
            assert as_printed(text, value), (label, text, value)
    plain, convex, learned = found.values()
    assert (learned > plain)[0].all()
    gaps = (learned - plain)[4]
    assert abs(gaps.mean()) < gaps.std(ddof=1)
    ratios = learned.mean(1) / plain.mean(1)
    others = [f"{r:.2f}".lstrip("0") for r in sorted(ratios[[1, 2, 3, 5]])]
    page = words("images.md")
    assert f"{100 * ratios[0] - 100:.1f} % *below* the endpoint reward at K = 2" in page
    assert f"elsewhere learning has {others[0]} to {others[-1]} of its error" in page
    assert np.abs(convex.mean(1) / learned.mean(1) - 1)[1:4].max() < 0.07


def test_what_the_convex_schedule_and_learning_cost_is_in_the_costs():
    spent = {
        method: [
            row["evaluations"]
            for row in read_rows(TABLES / "costs.csv")
            if (row["method"], row["solver"]) == (method, "rk4")
        ]
        for method in ("endpoint", "art_rl_endpoint")
    }
    once, (first, *_, last) = set(spent["endpoint"]), spent["art_rl_endpoint"]
    stated = (
        f"takes {once.pop():,} evaluations for all K together, "
        f"learning {first:,} for K = 2 to {last:,} for 18"
    )
    assert not once and stated in words("images.md")
    learned = read_json(TABLES / "schedules/mnist_art_rl_endpoint_rk4_K2.json")
    states = learned["provenance"]["details"]["points"]
    assert f"one level, learned on {states} states" in words("images.md")


@pytest.mark.parametrize("text", ["3.90", "3.92"])
def test_a_wrong_last_digit_is_noticed(text):
    assert as_printed("3.91", 3.9108) and not as_printed(text, 3.9108)


def test_training_noise_of_mnist_on_the_page_is_the_benchmarks():
    rows = read_json_lines(ROOT / "benchmarks/results/noise_distribution_mnist.jsonl")
    found = {(row["P_mean"], row["conditional"]): row for row in rows}
    assert len(found) == 6
    shown = tables("images.md", "MNIST, 50,000 images seen")[0][2:]
    for P_mean, *texts in shown:
        plain, labelled = (found[float(P_mean), conditional] for conditional in (False, True))
        values = [plain["fid"], labelled["fid"], 100 * labelled["label_share"]]
        for text, value in zip(texts, values, strict=True):
            assert as_printed(text.removesuffix(" %"), value), f"P_mean {P_mean}: {text}"


def test_endpoint_reward_against_back_propagation_is_the_committed_table():
    committed = (ROOT / "benchmarks/results/endpoint_backprop.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in committed.split("\n")]
    shown = tables("endpoint_reward.md", "## Against back-propagation through the sampler")[0]
    assert shown == [row for row in rows if len(row) > 1]


DIGITS = ROOT / "paper_figures/digits_full"
DIGITS_TABLES = {
    "Euler": "table3_digits_euler",
    "Heun": "table2_digits_heun",
    "RK4": "table4_digits_rk4",
}


@pytest.mark.parametrize(("name", "metric"), [("RMSE", "rmse"), ("LeNet-FID", "fid")])
def test_ratios_of_digits_on_the_page_are_those_of_the_tables(name, metric):
    shown = by_label(tables("images.md", "## Digits: what was measured")[0])
    for solver, table in DIGITS_TABLES.items():
        rows = [r for r in read_rows(DIGITS / f"{table}_{metric}.csv") if r["source"] == "ours"]
        best, edm = {}, {}
        for row in rows:
            if row["method"].startswith("art_rl"):
                best[row["K"]] = min(row["mean"], best.get(row["K"], row["mean"]))
            if row["method"] == "edm":
                edm[row["K"]] = row["mean"]
        for text, K in zip(shown[f"{solver}, {name}"], sorted(edm), strict=True):
            assert as_printed(text, best[K] / edm[K]), f"{solver}, {name}, K = {K}: {text}"


def test_ablation_of_digits_on_the_page_is_the_committed_one():
    found = {
        (row["trust"], row["solver"], row["K"]): (row["fid"], row["rmse"])
        for row in read_rows(DIGITS / "digits_trust.csv")
        if row["method"] == "quadrature"
    }
    names = {"0.02 to 4.5 (ours)": "auto", "everywhere": "none"}
    shown = tables("images.md", "## Ablation: where |Q| is trusted")[0][2:]
    assert len(shown) * 6 == len(found)
    for label, *texts in shown:
        cells = [(solver, K) for solver in ("euler", "heun") for K in (3, 5, 10)]
        for cell, text in zip(cells, texts, strict=True):
            for part, value in zip(
                text.split(" / "), found[names.get(label, label), *cell], strict=True
            ):
                assert as_printed(part, value), f"{label}, {cell}: {part}, the run has {value}"


def worst(learner, models, budgets):
    """The largest objective over its optimum in the default run, as printed."""
    rows = read_rows(ROOT / "paper_figures/exact/objectives.csv")
    mine = [row for row in rows if row["learner"] == learner and row["model"] in models]
    return max(row["ratio"] for row in mine if row["K"] in budgets)


def test_how_near_learners_of_k_steps_come_is_what_the_default_run_found():
    exact, every = ("gmm1d", "gmm1d_edm", "gmm64d"), range(2, 101)
    paper = {
        "few": worst("paper", (*exact, "digits"), range(3, 51)),
        "many": worst("paper", exact, [100]),
        "two": worst("paper", exact, [2]),
        "digits": worst("paper", ["digits"], [2]),
    }
    text = (ROOT / "docs/art_rl.md").read_text(encoding="utf-8")
    assert (
        "at most {few:.3f} at K = 3 to 50 on all four models of the default run, {many:.3f} at K = 100; "
        "at K = 2 {two:.3f} on the exact models and {digits:.3f} on digits".format(**paper)
    ) in text
    own, digits = worst("art_rl", exact, every), worst("art_rl", ["digits"], every)
    text = (ROOT / "docs/endpoint_reward.md").read_text(encoding="utf-8")
    assert f"gmm1d, gmm1d_edm, gmm64d <= {own:.4f}, digits <= {digits:.4f}" in text


MODELS = {  # label of README's row -> its tables, whether every hand-made list is in them
    "1-D mixture (VE)": ("exact/table1_gmm1d_{solver}_rmse.csv", True),
    "1-D mixture (EDM)": ("exact/table1_gmm1d_edm_{solver}_rmse.csv", True),
    "64-D mixture": ("exact/table1_gmm64d_{solver}_rmse.csv", True),
    "digits 8x8": ("digits_full/table{number}_digits_{solver}_rmse.csv", True),
    "MNIST": ("mnist/table{number}_mnist_{solver}_rmse.csv", False),
}
COLUMNS = [(solver, K) for solver in ("euler", "heun", "rk4") for K in (5, 10)]
NUMBERS = {"euler": 3, "heun": 2, "rk4": 4}


def gains(label, solver, K):
    """Endpoint RMSE of ART-RL's list over EDM's and over the best hand-made one's (None: not all there)."""
    path, complete = MODELS[label]
    file = ROOT / "paper_figures" / path.format(solver=solver, number=NUMBERS[solver])
    ours = [row for row in read_rows(file) if row["source"] == "ours"]
    found = {row["method"]: row["mean"] for row in ours if row["K"] == K}
    hand_made = [value for name, value in found.items() if name in BASELINES]
    learned = found["art_rl_endpoint"]
    return learned / found["edm"], learned / min(hand_made) if complete else None


@pytest.mark.parametrize("label", MODELS)
def test_what_readme_says_it_brings_is_in_the_tables(label):
    shown = by_label(tables("../README.md", "## What it brings")[0])[label]
    for cell, (solver, K) in zip(shown, COLUMNS, strict=True):
        values = [value for value in gains(label, solver, K) if value is not None]
        for text, value in zip(cell.split(" / "), values, strict=True):
            assert as_printed(text, value), f"{solver}, K = {K}: {text}, the tables have {value}"


def test_what_a_paper_run_needs_is_what_the_plan_says(tmp_path):
    plan = make_plan(check_configuration(load(ROOT / "config/paper.yaml")), tmp_path)
    single = [row for row in plan["models"] if row["solver"] in ("euler", "heun")]

    def total(key, rows=plan["models"]):
        return sum(row[key] for row in rows)

    several = total("cells") - total("cells", single), total("calls") - total("calls", single)
    needs = plan["needs"]
    text = " ".join((ROOT / "docs/reproducing_the_paper.md").read_text(encoding="utf-8").split())
    for stated in (
        f"{total('cells')} cells, {total('images') / 1e6:.1f} million images",
        f"{total('calls') / 1e6:,.0f} million network calls",
        f"({several[0]} cells and {several[1] / 1e6:.0f} million calls of them multistep)",
        f"{needs['disk_gib']:.0f} GiB of disk",
        f"{needs['memory_gib']} GiB of memory, about {needs['gpu_memory_gib']:.0f} GiB of GPU memory",
    ):
        assert stated in text, stated


@pytest.mark.parametrize(("column", "name"), [(0, "digits_full"), (1, "mnist")])
def test_training_of_networks_on_the_page_is_the_configurations(column, name):
    text = by_label(tables("image_models.md", "## Networks")[0])["training"][column]
    (model,) = load(ROOT / f"config/{name}.yaml")["models"].values()
    training = model["training"]
    stated = f"{training['iterations']:,} iterations of {training['batch_size']} images, "
    assert text.startswith(stated), stated
