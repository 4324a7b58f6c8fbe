"""Configuration: one normal form, and every fault is one line before a job starts."""

import copy
import json
import typing
from pathlib import Path

import pytest
import yaml

from art_rl.errors import ArtRLError
from art_rl.registry import SOLVERS
from art_rl.settings.base import Closed
from art_rl.settings.experiment import Configuration, check_configuration, learner_run
from art_rl.settings.load import load

ROOT = Path(__file__).parents[2]
SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
IMAGES = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())


@pytest.fixture
def smoke():
    return copy.deepcopy(SMOKE)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_are_valid(path):
    check_configuration(load(path))


def merged(base, over):
    """As Snakemake does with two files after --configfile."""
    return {
        key: merged(base[key], over[key])
        if isinstance(over.get(key), dict) and isinstance(base.get(key), dict)
        else over.get(key, base.get(key))
        for key in {**base, **over}
    }


def test_budgets_at_the_reference_s_own_steps_are_refused(smoke):
    """RK4 on EDM's grid at K = reference_steps had RMSE 0: it was the reference."""
    for table in ("toy_heun", "toy_euler"):
        smoke["tables"][table]["methods"] = ["edm"]
    smoke["tables"]["toy_heun"]["budgets"] = [4, 31]
    check_configuration(smoke)
    for K in (32, 64):
        smoke["tables"]["toy_heun"]["budgets"] = [4, K]
        with pytest.raises(
            ArtRLError,
            match=rf"tables.toy_heun.budgets must be below evaluation.reference_steps \(32\), got {K}",
        ):
            check_configuration(smoke)
    smoke["tables"]["toy_heun"]["budgets"] = [4]
    smoke["tables"]["toy_euler"]["metrics"] = ["w2"]  # measured against the target itself
    smoke["tables"]["toy_euler"]["budgets"] = [64]
    check_configuration(smoke)
    images = copy.deepcopy(IMAGES)
    table = next(t for t in images["tables"].values() if "rmse" in t["metrics"])
    model = images["models"][table["model"]]
    steps = model.setdefault("sampling", {}).setdefault("reference_steps", 32)
    table["budgets"] = [steps]
    with pytest.raises(
        ArtRLError, match=rf"below models.{table['model']}.sampling.reference_steps"
    ):
        check_configuration(images)


def test_rows_learned_against_a_solution_no_finer_than_they_are_refused(smoke):
    def check(solver, K, row):
        smoke["tables"] = {
            "t": {"model": "toy", "solver": solver, "budgets": [2, K], "metrics": ["rmse"]}
        }
        smoke["tables"]["t"]["methods"] = ["edm", row]
        check_configuration(smoke)

    for row, where in (("art_rl_endpoint", "learners.endpoint"), ("ld3", "ld3")):
        fault = rf"'{row}' at K = .*: reference_steps of {where} must be at least 17, got 16"
        # 16 RK4 steps are 61 calls.
        for solver, K in (("euler", 29), ("heun", 30), ("rk4", 15)):
            check(solver, K, row)
        for solver, K in (("heun", 31), ("rk4", 16)):
            with pytest.raises(ArtRLError, match=fault):
                check(solver, K, row)
    smoke["models"]["toy"]["ld3"] = {"reference_steps": 17}
    check("rk4", 16, "ld3")
    smoke["models"]["toy"]["learners"] = {"endpoint": {"reference_steps": 2}}
    with pytest.raises(ArtRLError, match="must be at least 3, got 2"):
        check("euler", 6, "art_rl_endpoint")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training": {"iterations": 1, "P_mean": 1e9}}, "P_mean must be at most 20"),
        ({"training": {"iterations": 1, "P_std": 0}}, "P_std must be greater than 0"),
        ({"training": {"iterations": 1, "p_mean": 0.5}}, "did you mean 'P_mean'"),
        ({"conditional": 1}, "conditional must be true or false, got 1"),
        ({"trained": True}, "trained must be text"),
        ({"trained": "config/networks/mnist.json"}, r"trained must match .*safetensors"),
        ({"P_mean": 0.5}, "unknown key 'models.digits.P_mean'"),
    ],
)
def test_faults_in_the_keys_of_a_network_are_named(values, message):
    images = copy.deepcopy(IMAGES)
    images["models"]["digits"] |= values
    with pytest.raises(ArtRLError, match=message):
        check_configuration(images)


def test_gpu_overlay_of_mnist_keeps_the_tables():
    base = yaml.safe_load((ROOT / "config/mnist.yaml").read_text())
    over = yaml.safe_load((ROOT / "config/overlays/mnist_gpu.yaml").read_text())
    checked = check_configuration(merged(base, over))
    assert checked["models"]["mnist"]["sampling"]["samples"] == 50000
    assert checked["models"]["mnist"]["network"] == base["models"]["mnist"]["network"]
    assert checked["tables"].keys() == base["tables"].keys()


def test_large_run_of_mnist_has_10000_images_in_table_4():
    base = yaml.safe_load((ROOT / "config/mnist.yaml").read_text())
    over = yaml.safe_load((ROOT / "config/overlays/mnist_large.yaml").read_text())
    checked = check_configuration(merged(base, over))
    sampling, table = checked["models"]["mnist"]["sampling"], checked["tables"]["table4_mnist_rk4"]
    assert sampling["samples"] * sampling["seed_blocks"] == 10_000
    assert table.get("seed_blocks") is None and "fid_all" in table["metrics"]
    assert {"uniform", "dpm", "edm", "art_rl_paper"} <= set(table["methods"]), "the papers' rows"


def test_defaults_are_filled_and_input_untouched(smoke):
    del smoke["evaluation"]["reference_steps"], smoke["control"]
    before = copy.deepcopy(smoke)
    checked = check_configuration(smoke)
    assert smoke == before
    assert checked["evaluation"]["reference_steps"] == 128
    assert checked["control"] == {"trajectories": 1024, "seed": 2}
    assert checked["models"]["toy"]["kind"] == "exact"


def change(path, value):
    def apply(config):
        *parents, last = path
        for key in parents:
            config = config.setdefault(key, {})
        config[last] = value

    return apply


def remove(*path):
    def apply(config):
        *parents, last = path
        for key in parents:
            config = config[key]
        del config[last]

    return apply


FAULTS = {
    "a home folder nobody looks up": (
        change(["pathvars", "results"], "~/results"),
        "pathvars.results must not begin with ~, which nothing replaces, and hold no braces, got",
    ),
    "a folder that reads as a pattern": (
        change(["pathvars", "figures"], "figures/{name}"),
        "pathvars.figures must not begin with ~",
    ),
    "misspelt key": (change(["modles"], {}), "unknown key 'modles'; did you mean 'models'"),
    "misspelt nested key": (
        change(["evaluation", "sample"], 5),
        "unknown key 'evaluation.sample'; did you mean 'samples'",
    ),
    "misspelt target key": (
        change(["models", "toy", "target", "wieghts"], [1]),
        "unknown key 'models.toy.target.wieghts'; did you mean 'weights'",
    ),
    "misspelt learner setting": (
        change(["learners", "feedback", "settings", "iteration"], 5),
        "unknown key 'learners.feedback.settings.iteration'; did you mean 'iterations'",
    ),
    "misspelt endpoint setting": (
        change(["learners", "endpoint", "settings", "draw"], 4),
        "unknown key 'learners.endpoint.settings.draw'; did you mean 'draws'",
    ),
    "K < 1": (
        change(["tables", "toy_euler", "budgets"], [2, 0]),
        "tables.toy_euler.budgets.1 must be at least 1, got 0",
    ),
    "K not whole": (
        change(["tables", "toy_euler", "budgets"], [2.5]),
        "tables.toy_euler.budgets.0 must be a whole number, got 2.5",
    ),
    "sigma_min >= sigma_max": (
        change(["models", "toy", "sigma_min"], 10.0),
        "models.toy.sigma_min must be below sigma_max = 10.0, got 10.0",
    ),
    "unknown solver": (
        change(["tables", "toy_euler", "solver"], "rk5"),
        f"tables.toy_euler.solver must be one of {', '.join(SOLVERS)}, got 'rk5'",
    ),
    "unknown method": (
        change(["methods"], ["edm", "emd"]),
        "methods.1 must be one of uniform",
    ),
    "unknown model": (
        change(["tables", "toy_euler", "model"], "tyo"),
        "tables.toy_euler.model is 'tyo', which is not in models; known: toy",
    ),
    "learner missing": (
        remove("learners", "feedback", "method"),
        "exactly one learner must have method: art_rl_",
    ),
    "number as text": (
        change(["models", "toy", "sigma_max"], "1e2"),
        "models.toy.sigma_max must be a number, got '1e2'; it is text, write 100 without quotes",
    ),
    "settings for no learner": (
        change(["models", "toy", "learners"], {"fedback": {}}),
        "models.toy.learners.fedback must name one of the learners, got 'fedback'; "
        "known: art_rl, feedback, paper, endpoint",
    ),
    "misspelt key of a model's learner": (
        change(["models", "toy", "learners"], {"endpoint": {"iteration": 3}}),
        "unknown key 'models.toy.learners.endpoint.iteration'; did you mean 'iterations'",
    ),
    "a model's learner of the other kind": (
        change(["models", "toy", "learners"], {"feedback": {"draws": 8}}),
        "unknown key 'models.toy.learners.feedback.draws'",
    ),
    "misspelt key of a model's profile": (
        change(["models", "toy", "profile"], {"level": 16}),
        "unknown key 'models.toy.profile.level'; did you mean 'levels'",
    ),
    "w2 in two dimensions": (
        change(["models", "toy", "target"], {"kind": "gaussian", "std": 0.5, "dim": 2}),
        "tables.toy_euler.metrics must not have w2, got ['w2', 'rmse']: model toy has no exact 1-D "
        "target; use rmse",
    ),
    "w2 of a mixture in two dimensions": (
        change(["models", "toy", "target", "means"], [[-1.0, 0.0], [1.0, 0.0]]),
        "tables.toy_euler.metrics must not have w2",
    ),
    "w2 of a random mixture": (
        change(
            ["models", "toy", "target"],
            {"kind": "random_mixture", "dim": 3, "stds": [0.5], "spread": 1.0, "seed": 0},
        ),
        "tables.toy_euler.metrics must not have w2",
    ),
    "fid of an exact model": (
        change(["tables", "toy_heun", "metrics"], ["fid", "rmse"]),
        "tables.toy_heun.metrics must not have fid, got ['fid', 'rmse']: model toy is exact",
    ),
    "repeated method": (
        change(["methods"], ["edm", "edm"]),
        "methods must not repeat an entry, has 'edm' twice",
    ),
    "key read as true": (
        change(["models", "toy", True], 1),
        "unknown key 'models.toy.True'; YAML reads",
    ),
    "model named like a number": (
        change(["models", "nan"], SMOKE["models"]["toy"]),
        "models.nan must not read as a number or an empty value",
    ),
    "table named like infinity": (
        change(["tables", "inf"], SMOKE["tables"]["toy_euler"]),
        "tables.inf must not read as a number",
    ),
    "name that begins with a digit": (
        change(["name"], "1e3"),
        "name must match ^[a-z][a-z0-9_]*$, got '1e3'",
    ),
    "ragged means": (
        change(["models", "toy", "target", "means"], [[-1.0], [1.0, 2.0]]),
        "models.toy.target.means.1 must have 1 coordinates like means.0, got [1.0, 2.0]",
    ),
    "fewer means than weights": (
        change(["models", "toy", "target", "means"], [[-1.0]]),
        "models.toy.target.means must have one entry per weight, 2, got 1",
    ),
    "nan": (
        change(["models", "toy", "target", "stds"], [0.2, float("nan")]),
        "models.toy.target.stds.1 must be finite, got nan",
    ),
    "infinite range": (
        change(["models", "toy", "sigma_max"], float("inf")),
        "models.toy.sigma_max must be finite, got inf",
    ),
    "unknown table of the paper": (
        change(["tables", "toy_euler", "paper"], "table_9"),
        "tables.toy_euler.paper must be one of table_1, table_2",
    ),
    "negative rate": (
        change(["learners", "feedback", "settings", "noise"], -0.01),
        "learners.feedback.settings.noise must be greater than 0, got -0.01; leave it out for 0.15",
    ),
    "odd draws": (
        change(["learners", "endpoint", "settings", "draws"], 5),
        "learners.endpoint.settings.draws must be a multiple of 2, got 5",
    ),
    "no trials": (
        change(["learners", "endpoint", "settings", "trials"], 0),
        "learners.endpoint.settings.trials must be at least 1, got 0; leave it out for 8",
    ),
    "keys that contradict": (
        change(["learners", "endpoint", "settings"], {"points": 64, "batch_rows": 32}),
        "learners.endpoint.settings.batch_rows must be at least points = 64, got 32",
    ),
    "a model's value that contradicts a common one": (
        change(["models", "toy", "learners"], {"endpoint": {"batch_rows": 2}}),
        "models.toy.learners.endpoint.batch_rows must be at least points = ",
    ),
    "a model's own form": (
        change(["models", "toy", "learners"], {"feedback": {"form": "paper"}}),
        "models.toy.learners.feedback.form must be left out, got 'paper': it is the same for every "
        "model",
    ),
    "row of the other kind": (
        change(["learners", "endpoint", "method"], "art_rl_feedback"),
        "learners.endpoint.method must be one of art_rl_endpoint, art_rl_decoupled for a learner of kind "
        "endpoint, got 'art_rl_feedback'",
    ),
    "seed beyond 2^63": (
        change(["learners", "feedback", "seeds"], [2**63]),
        "learners.feedback.seeds.0 must be at most 9223372036854775807, got 9223372036854775808",
    ),
    "last block's seed beyond 2^63": (
        change(["evaluation", "seed"], 2**63 - 1),
        "evaluation.seed must be at most 2^63 - seed_blocks",
    ),
    "learner named like another one's folder": (
        change(["learners", "endpoint_heun"], SMOKE["learners"]["paper"]),
        "learners.endpoint_heun must have another name: runs of endpoint with heun lie in a folder",
    ),
    "more steps than the teacher": (
        change(["models", "toy", "rivals"], {"teacher_levels": 4}),
        "tables.toy_rivals asks for 'gits' at K = 4: rivals.teacher_levels must be at least 5, got 4",
    ),
    "unknown kind of model": (
        change(["models", "toy", "kind"], "exat"),
        "models.toy.kind must be one of exact, image, edm, got 'exat'",
    ),
    "target without kind": (
        remove("models", "toy", "target", "kind"),
        "key 'models.toy.target.kind' is missing",
    ),
    "key of another kind": (
        change(["models", "toy", "checkpoint"], "x"),
        "unknown key 'models.toy.checkpoint'",
    ),
    "carried-over row in the common list": (
        change(["methods"], ["edm", "transfer_budget"]),
        "tables.toy_euler asks for 'transfer_budget': transfer.budget must be given, got nothing",
    ),
}

IN_DIGITS = ["models", "digits"]
IMAGE_FAULTS = {
    "misspelt training setting": (
        change([*IN_DIGITS, "training"], {"iteration": 30}),
        "unknown key 'models.digits.training.iteration'; did you mean 'iterations'",
    ),
    "misspelt classifier setting": (
        change([*IN_DIGITS, "features"], {"epoch": 1}),
        "unknown key 'models.digits.features.epoch'; did you mean 'epochs'",
    ),
    "misspelt network setting": (
        change([*IN_DIGITS, "network"], {"chanels": [8]}),
        "unknown key 'models.digits.network.chanels'; did you mean 'channels'",
    ),
    "training of no length": (
        remove(*IN_DIGITS, "training", "iterations"),
        "key 'models.digits.training.iterations' is missing",
    ),
    "channels not multiples of 8": (
        change([*IN_DIGITS, "network", "channels"], [8, 12]),
        "models.digits.network.channels.1 must be a multiple of 8, got 12",
    ),
    "network with labels": (
        change([*IN_DIGITS, "network", "label_dim"], 10),
        "unknown key 'models.digits.network.label_dim'",
    ),
    "rate as text": (
        change([*IN_DIGITS, "training", "learning_rate"], "2e-3"),
        "models.digits.training.learning_rate must be a number, got '2e-3'; it is text, write 0.002",
    ),
    "classifier without epochs": (
        change([*IN_DIGITS, "features", "epochs"], 0),
        "models.digits.features.epochs must be at least 1, got 0",
    ),
    "image model without sampling": (
        remove(*IN_DIGITS, "sampling"),
        "key 'models.digits.sampling' is missing",
    ),
    "misspelt sampling setting": (
        change([*IN_DIGITS, "sampling", "smaples"], 3),
        "unknown key 'models.digits.sampling.smaples'; did you mean 'samples'",
    ),
    "one sample": (
        change([*IN_DIGITS, "sampling", "samples"], 0),
        "models.digits.sampling.samples must be at least 2, got 0",
    ),
    "unknown device": (
        change([*IN_DIGITS, "sampling", "device"], "tpu"),
        "models.digits.sampling.device must be one of",
    ),
    "PNG export of another kind": (
        change([*IN_DIGITS, "sampling", "png"], True),
        "unknown key 'models.digits.sampling.png'",
    ),
    "levels that do not divide the image": (
        change([*IN_DIGITS, "network"], {"channels": [8, 8, 8, 8], "patch": 2}),
        "models.digits.network does not fit digits: shape must be (C, H, W) with H and W divisible by 16",
    ),
    "spread of the training levels": (
        change([*IN_DIGITS, "training", "P_std"], 0),
        "models.digits.training.P_std must be greater than 0, got 0; leave it out for 1.2",
    ),
    "conditional as number": (
        change([*IN_DIGITS, "conditional"], 10),
        "models.digits.conditional must be true or false, got 10",
    ),
    "more seed blocks than the model's": (
        change(["tables", "digits_euler", "seed_blocks"], 3),
        "tables.digits_euler.seed_blocks must be at most models.digits.sampling.seed_blocks (2), got 3",
    ),
    "w2 of images": (
        change(["tables", "digits_euler", "metrics"], ["fid", "w2"]),
        "tables.digits_euler.metrics must not have w2, got ['fid', 'w2']: model digits has no exact "
        "1-D target; use rmse or fid",
    ),
    "carried over from no budget": (
        remove("transfer", "budget"),
        "tables.table5_digits_euler asks for 'transfer_budget': transfer.budget must be given, "
        "got method in transfer; add it or leave the row out",
    ),
    "carried over from no data": (
        change(["tables", "table5_digits_euler", "methods"], ["edm", "transfer_data"]),
        "tables.table5_digits_euler asks for 'transfer_data': transfer.data must be given, "
        "got method, budget in transfer",
    ),
    "carried over from nothing": (
        remove("transfer"),
        "transfer.budget must be given, got nothing in transfer",
    ),
    "carried over with levels that the denoiser is told": (
        change(["transfer", "method"], "art_rl_decoupled"),
        "transfer.method must be one of art_rl, art_rl_paper, art_rl_feedback, art_rl_endpoint, got "
        "'art_rl_decoupled'",
    ),
    "carried over from nobody": (
        change(["transfer", "method"], "art_rl_paper"),
        "tables.table5_digits_euler asks for 'transfer_budget': exactly one learner must have "
        "method: art_rl_paper, found 0",
    ),
}
ALL_FAULTS = [(SMOKE, *fault) for fault in FAULTS.values()]
ALL_FAULTS += [(IMAGES, *fault) for fault in IMAGE_FAULTS.values()]


@pytest.mark.parametrize(("config", "apply", "message"), ALL_FAULTS, ids=[*FAULTS, *IMAGE_FAULTS])
def test_fault_is_one_line_that_names_it(config, apply, message):
    config = copy.deepcopy(config)
    apply(config)
    with pytest.raises(ArtRLError) as caught:
        check_configuration(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_data_are_a_model_or_a_folder():
    config = copy.deepcopy(IMAGES)
    config["tables"]["table5_digits_euler"]["methods"] = ["edm", "transfer_data"]
    config["transfer"] |= {"data": "mnist", "folder": "somewhere"}
    check_configuration(config)
    del config["transfer"]["folder"]
    with pytest.raises(ArtRLError, match=r"transfer.data is 'mnist', which is not in models"):
        check_configuration(config)


def test_missing_key(smoke):
    del smoke["models"]["toy"]["sigma_max"]
    with pytest.raises(ArtRLError, match=r"key 'models.toy.sigma_max' is missing"):
        check_configuration(smoke)


def test_settings_for_all_are_the_same_written_out_or_left_out():
    """Whatever a default is, writing it changes nothing of what rules, parameters and digests see."""
    config = copy.deepcopy(IMAGES)
    config["models"]["digits"]["features"] = {}
    left_out = check_configuration(config)
    complete = Configuration.from_dict(config)

    def write(block):
        return {
            name: write(value) if isinstance(value, Closed) else value
            for name, value in ((n, getattr(block, n)) for n in type(block).model_fields)
        }

    digits = complete.models["digits"]
    for key in ("training", "network", "features", "sampling"):
        config["models"]["digits"][key] = write(getattr(digits, key))
    for key in ("figures", "evaluation", "profile", "endpoint", "control"):
        config[key] = write(getattr(complete, key))
    for name, learner in complete.learners.items():
        config["learners"][name]["settings"] = write(learner.settings)
        config["learners"][name]["kind"] = learner.kind
    written = check_configuration(config)
    assert json.dumps(written) == json.dumps(left_out)
    assert written["learners"]["feedback"]["settings"]["form"] == "feedback"  # labels read it


def test_whole_floats_are_whole_numbers(smoke):
    smoke["evaluation"]["samples"] = 5.0e2
    smoke["tables"]["toy_euler"]["budgets"] = [2.0, 3]
    checked = check_configuration(smoke)
    assert json.dumps(checked["evaluation"]["samples"]) == "500"
    assert json.dumps(checked["tables"]["toy_euler"]["budgets"]) == "[2, 3]"


def test_a_models_values_go_over_the_common_ones(smoke):
    """A value equal to the default still goes over a common one that is not."""
    smoke["learners"]["endpoint"]["settings"]["trials"] = 5
    smoke["models"]["toy"]["learners"] = {"endpoint": {"trials": 8, "iterations": 7.0}}
    checked = check_configuration(smoke)
    assert checked["models"]["toy"]["learners"] == {"endpoint": {"iterations": 7, "trials": 8}}
    run = learner_run(checked, "toy", "endpoint")
    assert (run.trials, run.iterations) == (8, 7)
    assert run.draws == smoke["learners"]["endpoint"]["settings"]["draws"]
    assert "trials" not in run.plain() and run.plain()["iterations"] == 7


def test_null_of_a_model_goes_over_a_common_value(smoke):
    smoke["models"]["toy"] |= {"profile": {"levels": None}, "endpoint": {}}
    checked = check_configuration(smoke)
    assert checked["models"]["toy"]["profile"] == {"levels": None}
    assert "endpoint" not in checked["models"]["toy"]
    assert checked["profile"]["levels"] == 32


def test_every_key_is_described():
    def blocks(annotation, seen):
        if isinstance(annotation, type) and issubclass(annotation, Closed):
            if annotation not in seen:
                seen.add(annotation)
                for field in annotation.model_fields.values():
                    blocks(field.annotation, seen)
        for part in typing.get_args(annotation):
            blocks(part, seen)
        return seen

    seen = blocks(Configuration, set())
    assert len(seen) > 20
    for block in seen:
        assert block.__doc__, block
        for name, field in block.model_fields.items():
            assert field.description, f"{block.__name__}.{name}"
