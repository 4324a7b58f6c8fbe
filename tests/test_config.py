"""Configuration: defaults are filled, every fault is one clear line, schemas are closed and described."""

import copy
import dataclasses
from pathlib import Path

import pytest
import yaml

from art_rl.control.config import LearnerConfig
from art_rl.control.endpoint_config import EndpointConfig
from art_rl.errors import ArtRLError
from art_rl.methods import METHODS
from art_rl.settings import check_experiment_settings

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


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
            config = config[key]
        config[last] = value

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
        "tables.toy_euler.solver must be one of euler, heun, rk4, got 'rk5'",
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
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_one_line_that_names_it(smoke, fault):
    apply, message = FAULTS[fault]
    apply(smoke)
    with pytest.raises(ArtRLError) as caught:
        check_experiment_settings(smoke, SCHEMA)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_schema_knows_every_method_and_learner_setting():
    assert SCHEMA["$defs"]["methods"]["items"]["enum"] == list(METHODS)
    for name, cls, given in (
        ("clock_settings", LearnerConfig, {"seed", "budget"}),
        ("endpoint_settings", EndpointConfig, {"seed"}),
    ):
        fields = {field.name for field in dataclasses.fields(cls)} - given
        assert set(SCHEMA["$defs"][name]["properties"]) == fields


def test_readme_names_every_top_level_key():
    text = (ROOT / "config/README.md").read_text()
    for key in SCHEMA["properties"]:
        assert f"`{key}`" in text, key
