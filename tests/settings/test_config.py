"""Configuration: defaults are filled, every fault is one clear line, schemas are closed and described."""

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import yaml

from art_rl.denoisers.unet import UNetConfig
from art_rl.errors import ArtRLError
from art_rl.learning.config import LearnerConfig
from art_rl.learning.endpoint_config import EndpointConfig
from art_rl.metrics.lenet import LeNetSettings
from art_rl.registry import METHODS, SOLVERS
from art_rl.schedules.closed_form import TRAINED_RANGE
from art_rl.settings.experiment import TRAINED_NOISE, check_experiment_settings
from art_rl.training.score import TrainSettings

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
IMAGES = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())


@pytest.fixture
def smoke():
    return copy.deepcopy(SMOKE)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_are_valid(path):
    check_experiment_settings(yaml.safe_load(path.read_text()), SCHEMA)


def merged(base, over):
    """As Snakemake does with two files after --configfile."""
    return {
        key: merged(base[key], over[key])
        if isinstance(over.get(key), dict) and isinstance(base.get(key), dict)
        else over.get(key, base.get(key))
        for key in {**base, **over}
    }


def test_gpu_overlay_of_mnist_keeps_the_tables():
    base = yaml.safe_load((ROOT / "config/mnist.yaml").read_text())
    over = yaml.safe_load((ROOT / "config/overlays/mnist_gpu.yaml").read_text())
    checked = check_experiment_settings(merged(base, over), SCHEMA)
    assert checked["models"]["mnist"]["sampling"]["samples"] == 50000
    assert checked["models"]["mnist"]["network"] == base["models"]["mnist"]["network"]
    assert checked["tables"].keys() == base["tables"].keys()


def test_defaults_are_filled_and_input_untouched(smoke):
    del smoke["evaluation"]["reference_steps"], smoke["control"]
    before = copy.deepcopy(smoke)
    checked = check_experiment_settings(smoke, SCHEMA)
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
        "tables.toy_euler.budgets.0 must be of type integer, got 2.5",
    ),
    "sigma_min >= sigma_max": (
        change(["models", "toy", "sigma_min"], 10.0),
        "models.toy: noise levels must satisfy 0 <= sigma_min < sigma_max",
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
        change(["learners", "feedback", "method"], "art_rl_paper"),
        "exactly one learner must have method: art_rl_",
    ),
    "number as text": (
        change(["models", "toy", "sigma_max"], "1e2"),
        "models.toy.sigma_max must be of type number, got '1e2'",
    ),
    "settings for no learner": (
        change(["models", "toy", "learners"], {"fedback": {}}),
        "models.toy.learners.fedback must name one of the learners, got 'fedback'; "
        "known: feedback, paper, endpoint",
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
        "models.digits.network.label_dim must be one of 0, got 10",
    ),
    "rate as text": (
        change([*IN_DIGITS, "training", "learning_rate"], "2e-3"),
        "models.digits.training.learning_rate must be of type number, got '2e-3'",
    ),
    "classifier without epochs": (
        change([*IN_DIGITS, "features", "epochs"], 0),
        "models.digits.features.epochs must be at least 1, got 0",
    ),
    "image model without sampling": (
        remove(*IN_DIGITS, "sampling"),
        "key 'models.digits.sampling' is missing",
    ),
    "trained on other levels": (
        change([*IN_DIGITS, "training", "P_mean"], -0.8),
        "models.digits.training.P_mean must be -1.2, got -0.8: |Q| is trusted on the levels of that "
        "distribution (closed_form.TRAINED_RANGE); leave P_mean out",
    ),
    "trained on a narrower range": (
        change([*IN_DIGITS, "training", "P_std"], 1),
        "models.digits.training.P_std must be 1.2, got 1: |Q| is trusted",
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
        check_experiment_settings(config, SCHEMA)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_data_are_a_model_or_a_folder():
    config = copy.deepcopy(IMAGES)
    config["tables"]["table5_digits_euler"]["methods"] = ["edm", "transfer_data"]
    config["transfer"] |= {"data": "mnist", "folder": "somewhere"}
    check_experiment_settings(config, SCHEMA)
    del config["transfer"]["folder"]
    with pytest.raises(ArtRLError, match=r"transfer.data is 'mnist', which is not in models"):
        check_experiment_settings(config, SCHEMA)


def test_trusted_levels_are_those_of_the_training():
    fields = {field.name: field.default for field in dataclasses.fields(TrainSettings)}
    assert {name: fields[name] for name in TRAINED_NOISE} == TRAINED_NOISE
    mean, std = TRAINED_NOISE["P_mean"], TRAINED_NOISE["P_std"]
    ends = [math.exp(mean - 2.25 * std), math.exp(mean + 2.25 * std)]
    assert list(TRAINED_RANGE) == pytest.approx(ends, rel=1e-12)
    config = copy.deepcopy(IMAGES)
    config["models"]["digits"]["training"] |= TRAINED_NOISE
    check_experiment_settings(config, SCHEMA)


def test_missing_key(smoke):
    del smoke["models"]["toy"]["sigma_max"]
    with pytest.raises(ArtRLError, match=r"key 'models.toy.sigma_max' is missing"):
        check_experiment_settings(smoke, SCHEMA)


def parts(schema, where="schema"):
    """Every subschema that describes an object, and every named property, with its path."""
    if isinstance(schema, dict):
        yield where, schema
        for key, value in schema.items():
            if isinstance(value, dict):
                for name, part in (
                    value.items() if key in ("properties", "$defs") else [("", value)]
                ):
                    yield from parts(part, f"{where}.{key}.{name}")
            elif isinstance(value, list):
                for index, part in enumerate(value):
                    yield from parts(part, f"{where}.{key}[{index}]")


def test_schema_is_closed_and_described():
    assert SCHEMA["$schema"].endswith("2020-12/schema")
    for where, part in parts(SCHEMA):
        # if/then chooses between definitions that are closed themselves.
        if ".if" in where or ".allOf" in where or "if" in part or "allOf" in part:
            continue
        if "properties" in part:
            assert part.get("additionalProperties") is False, where
        for name, entry in part.get("properties", {}).items():
            assert "description" in entry or "$ref" in entry, f"{where}.{name}"


def test_schema_knows_every_method_and_setting():
    assert SCHEMA["$defs"]["methods"]["items"]["enum"] == list(METHODS)
    for name, cls, given in (
        ("clock_settings", LearnerConfig, {"seed", "budget"}),
        ("endpoint_settings", EndpointConfig, {"seed"}),
        ("network_settings", UNetConfig, {"shape"}),
        ("training_settings", TrainSettings, set()),
        ("feature_settings", LeNetSettings, set()),
    ):
        fields = {f.name: f.default for f in dataclasses.fields(cls) if f.name not in given}
        part = SCHEMA["$defs"][name]
        assert set(part["properties"]) == set(fields)
        needed = {key for key, default in fields.items() if default is dataclasses.MISSING}
        assert set(part.get("required", [])) == needed
        # The defaults stay in the classes: filled in, they would change what a run depends on.
        assert not any("default" in entry for entry in part["properties"].values())
    for key in ("network", "training", "features"):
        assert SCHEMA["$defs"]["model"]["properties"][key]["$ref"].endswith("_settings")


def test_readme_names_every_top_level_key():
    text = (ROOT / "config/README.md").read_text()
    for key in SCHEMA["properties"]:
        assert f"`{key}`" in text, key
