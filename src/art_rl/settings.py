"""Checking a configuration against its JSON schema, with one clear line per fault.

`check_settings` validates (JSON Schema, draft 2020-12), fills defaults, and turns the first fault
into an ArtRLError that names the key, the rule and the value.
"""

import copy
import difflib
import json
from importlib.resources import files as package_files
from typing import Any

from jsonschema import Draft202012Validator

from art_rl.errors import ArtRLError
from art_rl.methods import LEARNED, METHODS, method
from art_rl.schedule import check_sigma_range


def check_settings(settings: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``settings`` with the schema's defaults filled in.

    Raises:
        ArtRLError: one line naming the first key (by path) that breaks the schema.
    """
    settings = _fill(copy.deepcopy(settings), schema, schema)
    errors = list(Draft202012Validator(schema).iter_errors(settings))
    if errors:
        # Unknown keys first: a misspelt key often also causes a "missing key" elsewhere.
        errors.sort(key=lambda e: (e.validator != "additionalProperties", list(map(str, e.path))))
        raise ArtRLError(_describe(errors[0]))
    return settings


def check_experiment_settings(settings: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`check_settings`, and the rules between keys that a JSON schema cannot state.

    Checked: sigma_min < sigma_max for every model; tables name known models and methods, each
    with a solver the method has a schedule for; learned methods have settings; checkpoints are known
    assets of the right kind and scored by FID only.

    Raises:
        ArtRLError: one line naming the key, the rule and the value.
    """
    settings = check_settings(settings, schema)
    for name, model in settings["models"].items():
        try:
            check_sigma_range(model["sigma_min"], model["sigma_max"])
        except ArtRLError as error:
            raise ArtRLError(f"config: models.{name}: {error}") from None
    _check_checkpoints(settings)
    learners = [learner.get("method") for learner in settings.get("learners", {}).values()]
    for name, table in settings["tables"].items():
        if table["model"] not in settings["models"]:
            raise ArtRLError(
                f"config: tables.{name}.model is {table['model']!r}, which is not in models; "
                f"known: {', '.join(settings['models'])}"
            )
        for row in table.get("methods", settings["methods"]):
            entry = method(row)
            if entry.group == LEARNED and learners.count(row) != 1:
                raise ArtRLError(
                    f"config: tables.{name} asks for {row!r}: exactly one learner must have "
                    f"method: {row}, found {learners.count(row)}"
                )
    return settings


def methods_of_table(settings: dict[str, Any], table: str) -> list[str]:
    """Methods (ids) of a table that have a schedule for its solver, in the order of the registry."""
    entry = settings["tables"][table]
    wanted = entry.get("methods", settings["methods"])
    return [name for name in METHODS if name in wanted and method(name).runs_with(entry["solver"])]


def wanted_cells(settings: dict[str, Any], model: str, solver: str) -> list[tuple[str, int]]:
    """(method, K) pairs of every table on ``model`` with ``solver``, in a fixed order."""
    pairs = {
        (name, K)
        for table, entry in settings["tables"].items()
        if entry["model"] == model and entry["solver"] == solver
        for name in methods_of_table(settings, table)
        for K in entry["budgets"]
    }
    return sorted(pairs, key=lambda pair: (list(METHODS).index(pair[0]), pair[1]))


# Assets of an edm model: key of the configuration -> group of the asset, and the default.
ASSET_KEYS = {
    "checkpoint": ("edm", None),
    "reference": ("fid_refs", None),
    "inception": ("inception", "inception-v3"),
}


def _check_checkpoints(settings: dict[str, Any]) -> None:
    """Assets of edm models, and the metrics of their tables; see check_experiment_settings."""
    # The catalogue as data: art_rl.assets brings download libraries that a dry run does not need.
    known = json.loads(package_files("art_rl").joinpath("catalogue.json").read_text("utf-8"))
    assets = {**known["assets"], **settings.get("assets", {})}
    groups = {name: asset["group"] for name, asset in assets.items()}
    for name, model in settings["models"].items():
        if model.get("kind") != "edm":
            continue
        for key, (group, default) in ASSET_KEYS.items():
            asset = model.setdefault(key, default)
            if groups.get(asset) != group:
                names = ", ".join(name for name, its in groups.items() if its == group)
                raise ArtRLError(
                    f"config: models.{name}.{key} must be an asset of the group {group}, "
                    f"got {asset!r}; known: {names}"
                )
        for table, entry in settings["tables"].items():
            if entry["model"] == name and entry["metrics"] != ["fid"]:
                raise ArtRLError(
                    f"config: tables.{table}.metrics must be [fid] for the checkpoint {name}, "
                    f"got {entry['metrics']}"
                )


def _resolve(schema: Any, root: dict[str, Any]) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def _fill(value: Any, schema: Any, root: dict[str, Any]) -> Any:
    """Fill the defaults of missing keys, depth first; branches (if/then) are not followed."""
    schema = _resolve(schema, root)
    if not isinstance(schema, dict) or not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    for key, part in properties.items():
        if isinstance(part, dict) and "$ref" in part:  # keys beside $ref count too
            part = {**_resolve(part, root), **part}
            del part["$ref"]
        if key not in value and "default" in part:
            value[key] = copy.deepcopy(part["default"])
        if key in value:
            value[key] = _fill(value[key], part, root)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in value:
            if key not in properties:
                value[key] = _fill(value[key], others, root)
    return value


def _describe(error: Any) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = sorted(str(key) for key in error.instance if key not in known)[0]
        key = f"{where}.{unknown}" if where else unknown
        close = difflib.get_close_matches(unknown, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"config: unknown key {key!r}{hint} (known here: {', '.join(known)})"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"config: key {f'{where}.{missing}' if where else missing!r} is missing"
    if error.validator in ("enum", "const"):
        allowed = error.validator_value
        allowed = allowed if isinstance(allowed, list) else [allowed]
        return (
            f"config: {where} must be one of {', '.join(map(str, allowed))}, "
            f"got {error.instance!r:.80}"
        )
    rules = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
        "type": "of type",
    }
    if error.validator in rules:
        return (
            f"config: {where or 'the file'} must be {rules[error.validator]} "
            f"{error.validator_value}, got {error.instance!r:.80}"
        )
    return f"config: {where}: {' '.join(error.message.split())[:200]}"
