"""What a configuration asks for, where it lies, and which code it depends on: without Snakemake."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from art_rl.errors import ArtRLError
from art_rl.experiments.dependencies import imported_modules, modules
from art_rl.experiments.machine import check_shipped
from art_rl.experiments.products import Products, run_files, schedule_path
from art_rl.experiments.targets import Targets, pattern
from art_rl.registry import METHODS, RIVAL
from art_rl.settings.experiment import check_configuration

ROOT = Path(__file__).parents[2]


def settings(name, **changes):
    text = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    return check_configuration({**text, **changes})


def wildcards(**values):
    return SimpleNamespace(**values, items=values.items, get=values.get)


def test_a_network_that_is_said_to_be_there_is_there(tmp_path):
    found = settings("digits_smoke")
    check_shipped(found, tmp_path)
    found["models"]["digits"]["trained"] = "networks/d.safetensors"
    for there in ("d.json", "d.safetensors"):
        with pytest.raises(ArtRLError, match=r"models\.digits\.trained: no file networks/d\."):
            check_shipped(found, tmp_path)
        (tmp_path / "networks").mkdir(exist_ok=True)
        (tmp_path / "networks" / there).write_text("")
    check_shipped(found, tmp_path)
    check_shipped(settings("mnist"), ROOT)


def test_cells_are_what_tables_name():
    targets = Targets(settings("smoke"))
    assert targets.used() == ["toy"] and targets.solvers("toy") == ["euler", "heun"]
    assert targets.metrics("toy") == ["w2", "rmse"]
    # Heun has a table of three methods at one budget; Euler all methods but the one of order p.
    assert targets.cells("toy", "heun") == [
        ("edm", 4),
        ("quadrature_order", 4),
        ("art_rl_endpoint", 4),
    ]
    every = [name for name in settings("smoke")["methods"] if name != "quadrature_order"]
    rivals = {(method.id, 4) for method in METHODS.values() if method.group == RIVAL}
    expected = {(name, K) for name in every for K in (2, 4)} | {("art_rl_decoupled", 4)}
    assert set(targets.cells("toy", "euler")) == expected | rivals
    assert targets.budgets_of("gits") == [4] and targets.budgets_of("ld3", "heun") == []
    assert targets.budgets() == [2, 4] and targets.budgets("heun") == [4]
    assert ("edm", "any", 4) in targets.schedules("toy")
    assert ("art_rl_endpoint", "heun", 4) in targets.schedules("toy")
    assert ("art_rl_endpoint", "heun", 2) not in targets.schedules("toy")


def test_a_networks_weights_are_one_path():
    # A list of one would reach the scripts as a list: no network could be read.
    network = Products(settings("digits_smoke"), ROOT).network(wildcards(model="digits"))
    assert network == "<results>/digits/network.safetensors"
    assert Products(settings("smoke"), ROOT).network(wildcards(model="toy")) == []


def test_learners_of_a_configuration():
    targets = Targets(settings("smoke"))
    assert targets.fine_runs("toy") == [("feedback", 0), ("feedback", 1)]
    assert targets.learner_of("art_rl_endpoint") == "endpoint"
    own = Targets(settings("paper_smoke")).run_settings("tiny", "paper")
    assert own["iterations"] == 3 and own["batch"] == 8, "the model's own value counts"


def test_paths_of_schedules_and_runs():
    assert schedule_path("m", "edm", "heun", 5) == "<results>/m/schedules/edm/any/K5.json"
    assert schedule_path("m", "endpoint", "rk4", 5) == "<results>/m/schedules/endpoint/rk4/K5.json"
    assert run_files("m", "paper", 0, "a", "b")[1] == "<results>/m/learning/paper/seed0/b"


def test_shards_are_named_in_the_order_of_seeds():
    products = Products(settings("digits_smoke"), ROOT)  # 30 images in shards of 20, two blocks
    assert products.targets.parts("digits") == ["block0_0", "block0_1", "block1_0", "block1_1"]
    assert products.targets.shards_of("digits", "block1_0") == [(1, 0)]
    files = [path.rsplit("/", 2)[1:] for path in products.sampled("digits")]
    assert files[:2] == [["euler", "block0_0.json"], ["euler", "block0_1.json"]]
    assert products.references("digits", blocks=1)[-1].endswith("reference/block0_1.npz")


def test_a_table_may_have_fewer_seed_blocks_than_its_model():
    products = Products(settings("digits_smoke"), ROOT)  # table5 has one of two
    blocks = {(name, K): n for name, K, n in products.targets.blocks("digits", "euler")}
    assert blocks["edm", 2] == 2 and blocks["edm", 4] == blocks["transfer_budget", 4] == 1
    sampled = [
        products.cells(wildcards(model="digits", group="euler", part=part))
        for part in ("block0_1", "block1_0")
    ]
    assert {cell[1:3] for cell in sampled[0]} - {cell[1:3] for cell in sampled[1]} == {
        ("edm", 4),
        ("transfer_budget", 4),
    }
    assert products.targets.metrics("digits") == ["fid", "rmse"] and products.targets.pooled(
        "digits"
    )
    # A cell of two tables has the blocks of the one that asks for more.
    tables = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())["tables"]
    tables["digits_euler"]["budgets"] = [2, 4]
    targets = Targets(settings("digits_smoke", tables=tables))
    assert ("edm", 4, 2) in targets.blocks("digits", "euler")


def test_more_images_train_and_learn_nothing_anew():
    models = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())["models"]
    before = Products(settings("digits_smoke"), ROOT)
    models["digits"]["sampling"].update(samples=50, seed_blocks=3, batch=5)
    after = Products(settings("digits_smoke", models=models), ROOT)
    digits = wildcards(model="digits")
    assert before.model(digits) == after.model(digits)
    assert before.sampling(digits) != after.sampling(digits)
    models["digits"]["profile"]["trajectories"] = 5
    models["digits"]["learners"] = {"endpoint": {"iterations": 3}}
    assert Products(settings("digits_smoke", models=models), ROOT).model(digits) == after.model(
        digits
    )
    models["digits"]["sigma_max"] = 70.0
    changed = Products(settings("digits_smoke", models=models), ROOT)
    assert changed.model(digits) != after.model(digits)
    # Nor is anything but samples made of the settings in the rules that train, measure and learn.
    for name in ("learning", "schedules", "models", "rivals"):
        rules = (ROOT / f"workflow/rules/{name}.smk").read_text()
        assert "within=config" not in rules and "model=products.model" in rules


def test_exact_models_are_sampled_in_one_job():
    targets = Targets(settings("smoke"))
    assert targets.parts("toy") == ["all"] and targets.groups("toy") == ["all"]
    assert targets.shards_of("toy", "all") == [(0, 0), (1, 0)]
    solvers = {solver for solver, *_ in targets.cells_of("toy", "all")}
    assert solvers == set(targets.solvers("toy"))
    sampling = targets.sampling("toy")
    assert sampling["samples"] == sampling["shard"] == sampling["batch"] == 500


def test_figures_are_those_there_is_something_to_draw_for():
    exact = Products(settings("smoke"), ROOT).figure_kinds("toy")
    assert exact == ["error", "schedules", "profile", "theta", "learning"]
    image = Products(settings("digits_smoke"), ROOT).figure_kinds("digits")
    assert {"fid_nfe", "rmse_nfe", "loss", "samples_euler"} <= set(image)
    edm = Products(settings("paper_smoke"), ROOT)
    assert edm.figure_kinds("other") == ["fid_nfe", "schedules", "samples_heun"]
    assert {"table6_beside_paper.md", "table6_fid.csv"} == {
        path.rsplit("/", 1)[1] for path in edm.table_outputs("other") if "table6" in path
    } & {"table6_beside_paper.md", "table6_fid.csv"}
    assert "tiny_wins.csv" in " ".join(edm.table_outputs("tiny"))


def test_what_runs_is_decided_by_the_tables_alone():
    """A model that no table names has no product, and no rule asks for its network."""
    full = settings("digits_smoke")
    text = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())
    text["models"]["spare"] = text["models"]["digits"]
    more = check_configuration(text)
    assert Products(more, ROOT).everything() == Products(full, ROOT).everything()
    assert not any("spare" in path for path in Products(more, ROOT).every_schedule())


def test_carried_over_schedules_have_a_source():
    products = Products(settings("paper_smoke"), ROOT)
    here = wildcards(model="other", solver="heun")
    assert products.data_source(here) == ["<results>/tiny/schedules/art_rl_paper/any/K2.json"]
    here = wildcards(model="tiny", solver="heun")
    assert products.budget_source(here) == "<results>/tiny/schedules/art_rl_paper/any/K3.json"
    committed = Products(settings("mnist_smoke"), ROOT).data_source(
        wildcards(model="mnist", solver="heun")
    )
    assert committed and all(Path(path).exists() for path in committed)


def test_products_without_a_name_of_this_machine():
    products = Products(settings("config"), ROOT)
    paths = products.everything() + products.every_schedule()
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("<") for path in paths)


def test_pattern_of_nothing_matches_no_name():
    assert pattern([]) == "none" and pattern(["a", "b"]) == "a|b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import art_rl.files", {"__init__.py", "files.py", "errors.py"}),
        ("from art_rl import errors", {"__init__.py", "errors.py"}),
        ("import numpy", set()),
    ],
)
def test_modules_behind_a_script(tmp_path, text, expected):
    (tmp_path / "a.py").write_text(text)
    found = imported_modules(tmp_path / "a.py", ROOT / "src")
    assert {path.name for path in found} >= expected
    assert bool(found) == bool(expected)


def test_a_model_depends_on_the_builder_of_its_kind_and_no_other():
    models = {"a": {"kind": "exact"}, "b": {"kind": "edm"}, "c": {"kind": "image"}}
    code = modules("sample_cells.py", ROOT, models)
    exact, edm, image = (" ".join(code(wildcards(model=name))) for name in "abc")
    assert "kinds/exact" in exact and "unet" not in exact and "/edm" not in exact
    assert "denoisers/edm/" in edm and "unet" not in edm
    assert "unet" in image and "denoisers/edm/" not in image
    # A rule about one model has no wildcard of that name.
    assert " ".join(modules("sample_cells.py", ROOT, models, "c")(wildcards())) == image


def test_asking_needs_no_torch():
    code = "import sys, art_rl.experiments.products, art_rl.experiments.dependencies\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")


def test_imports_for_type_checkers_are_no_dependencies():
    """art_rl/__init__ names what it loads when asked: a table's script still depends on no torch."""
    found = imported_modules(ROOT / "workflow/scripts/render_tables.py", ROOT / "src")
    names = {str(path.relative_to(ROOT / "src/art_rl")) for path in found}
    assert "report/tables.py" in names and not any(n.startswith("denoisers") for n in names), names
