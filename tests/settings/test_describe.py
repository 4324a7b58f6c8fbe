"""The editors' schema and the tables of config/README.md are current, and the schema means what it says."""

import copy
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from art_rl.errors import ArtRLError
from art_rl.registry import METHODS, SOLVERS
from art_rl.settings.__main__ import README, SCHEMA, main
from art_rl.settings.describe import key_tables, replace_tables
from art_rl.settings.experiment import Configuration
from art_rl.settings.load import load

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_made_files_are_current(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_named(tmp_path, monkeypatch, capsys):
    import art_rl.settings.__main__ as command

    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "SCHEMA", tmp_path / "schema.json")
    readme = tmp_path / "README.md"
    readme.write_text(README.read_text().replace("| `solver` |", "| `slover` |"))
    monkeypatch.setattr(command, "README", readme)
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "schema.json is not current" in said and "README.md is not current" in said
    assert main([]) == 0 and main(["--check"]) == 0
    assert "| `solver` |" in readme.read_text()


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda p: p.name)
def test_schema_accepts_what_ships(path, validator):
    assert not list(validator.iter_errors(load(path)))


def test_schema_refuses_what_the_workflow_refuses(validator):
    smoke = load(CONFIG / "smoke.yaml")
    for path, value in (
        (["evaluation", "sample"], 5),
        (["tables", "toy_euler", "solver"], "rk5"),
        (["tables", "toy_euler", "budgets"], [0]),
        (["models", "toy", "target", "wieghts"], [1.0]),
        (["models", "toy", "sigma_min"], -1.0),
        (["learners", "endpoint", "settings", "draws"], 5),
        (["learners", "feedback", "settings", "form"], "open"),
    ):
        config = copy.deepcopy(smoke)
        *parents, last = path
        block = config
        for key in parents:
            block = block[key]
        block[last] = value
        assert list(validator.iter_errors(config)), path
        with pytest.raises(ArtRLError):
            Configuration.from_dict(config)


def test_schema_is_closed_and_knows_the_registry(validator):
    definitions = validator.schema["$defs"]
    for name, block in {"": validator.schema, **definitions}.items():
        assert block["additionalProperties"] is False, name
        assert all("description" in p or "$ref" in p for p in block["properties"].values()), name
    table = definitions["Table"]["properties"]
    assert table["solver"]["enum"] == list(SOLVERS)
    assert validator.schema["properties"]["methods"]["items"]["enum"] == list(METHODS)


def test_tables_hold_types_bounds_and_defaults():
    tables = key_tables()
    assert "| `draws` | whole number, at least 4, a multiple of 2 | `64` |" in tables
    assert "| `sigma_max` | number, above 0 | required |" in tables
    assert "| `trace` | number, at least 0, at most 1 or null | null |" in tables
    assert "| `estimator` | rollout, difference, jvp |" in tables


def test_marks_are_needed():
    with pytest.raises(ArtRLError, match="must hold"):
        replace_tables("no marks", "")
