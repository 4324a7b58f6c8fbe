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
from art_rl.registry import LEARNED, METHODS, TRANSFER, method
from art_rl.schedules.schedule import check_sigma_range
from art_rl.settings.base import Closed
from art_rl.settings.rivals import LD3Settings, RivalSettings


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

    Checked: sigma_min < sigma_max for every model; models have settings for known learners only;
    image networks are trained on the noise levels that |Q| is trusted on; blocks of rival schedules keep
    their rules; tables name known models and methods, and metrics their model has; learned methods have
    a learner, carried-over ones a source; checkpoints are known assets of the right kind and
    scored by FID only.

    Raises:
        ArtRLError: one line naming the key, the rule and the value.
    """
    settings = check_settings(settings, schema)
    for name, model in settings["models"].items():
        try:
            check_sigma_range(model["sigma_min"], model["sigma_max"])
        except ArtRLError as error:
            raise ArtRLError(f"config: models.{name}: {error}") from None
        _check_model(name, model, settings.get("learners", {}), schema)
        for key, block in RIVAL_BLOCKS.items():
            check_rival_block(settings, name, key, block)
    _check_checkpoints(settings)
    for name, table in settings["tables"].items():
        if table["model"] not in settings["models"]:
            raise ArtRLError(
                f"config: tables.{name}.model is {table['model']!r}, which is not in models; "
                f"known: {', '.join(settings['models'])}"
            )
        _check_metrics(name, table, settings["models"][table["model"]])
        for row in table.get("methods", settings["methods"]):
            group = method(row).group
            if group == LEARNED:
                _check_learner(f"tables.{name} asks for {row!r}", row, settings)
            elif group == TRANSFER:
                _check_transfer(name, row, settings)
    return settings


# Blocks of the configuration that rival schedules use, for all models and for one.
RIVAL_BLOCKS = {"rivals": RivalSettings, "ld3": LD3Settings}


def check_rival_block(
    settings: dict[str, Any], model: str, key: str, block: type[Closed]
) -> Closed:
    """The block ``key`` of a model: its own values over the common ones, checked.

    Raises:
        ArtRLError: one line naming the key, the rule and the value.
    """
    common, own = settings.get(key, {}), settings["models"][model].get(key, {})
    try:
        block(**common)
    except ArtRLError as error:
        raise ArtRLError(f"config: {key}: {error}") from None
    try:
        return block(**{**common, **own})
    except ArtRLError as error:
        raise ArtRLError(f"config: models.{model}.{key}: {error}") from None


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


# ln sigma ~ N(P_mean, P_std^2) while a network is trained; closed_form.TRAINED_RANGE is made of it.
TRAINED_NOISE = {"P_mean": -1.2, "P_std": 1.2}


def _check_model(
    name: str, model: dict[str, Any], learners: dict[str, Any], schema: dict[str, Any]
) -> None:
    """Settings that one model has for its learners, and the noise levels its network is trained on."""
    for learner, own in model.get("learners", {}).items():
        if learner not in learners:
            raise ArtRLError(
                f"config: models.{name}.learners.{learner} must name one of the learners, "
                f"got {learner!r}; known: {', '.join(learners) or 'none'}"
            )
        part = schema["$defs"][f"{learners[learner]['kind']}_settings"]
        for path in (learner, "learners", name, "models"):  # so that the error names the whole path
            own, part = {path: own}, {"type": "object", "properties": {path: part}}
        check_settings(own, {**part, "$defs": schema["$defs"]})
    if model["kind"] != "edm" and model.get("sampling", {}).get("png"):
        raise ArtRLError(
            f"config: models.{name}.sampling.png must be false for a model of kind {model['kind']}, got "
            "true: only samples of checkpoints are written as files; leave it out"
        )
    for key, value in TRAINED_NOISE.items():
        given = model.get("training", {}).get(key, value)
        if given != value:
            raise ArtRLError(
                f"config: models.{name}.training.{key} must be {value}, got {given}: |Q| is trusted on "
                f"the levels of that distribution (closed_form.TRAINED_RANGE); leave {key} out"
            )


def _dimension(target: dict[str, Any]) -> int:
    """Dimension of an exact model's data."""
    return len(target["means"][0]) if target["kind"] == "mixture" else target.get("dim", 1)


def _check_metrics(name: str, table: dict[str, Any], model: dict[str, Any]) -> None:
    """w2 needs quantiles of the exact 1-D target, fid a network's feature space."""
    exact = model["kind"] == "exact"
    if "w2" in table["metrics"] and not (exact and _dimension(model["target"]) == 1):
        raise ArtRLError(
            f"config: tables.{name}.metrics must not have w2, got {table['metrics']}: model "
            f"{table['model']} has no exact 1-D target; use rmse{'' if exact else ' or fid'}"
        )
    if "fid" in table["metrics"] and exact:
        raise ArtRLError(
            f"config: tables.{name}.metrics must not have fid, got {table['metrics']}: model "
            f"{table['model']} is exact, not one of images; use rmse, or w2 in one dimension"
        )


def _check_learner(asking: str, name: str, settings: dict[str, Any]) -> None:
    """The one learner of an ART-RL method that ``asking`` needs."""
    learners = [learner.get("method") for learner in settings.get("learners", {}).values()]
    if learners.count(name) != 1:
        raise ArtRLError(
            f"config: {asking}: exactly one learner must have method: {name}, "
            f"found {learners.count(name)}"
        )


def _check_transfer(table: str, row: str, settings: dict[str, Any]) -> None:
    """The source of a carried-over row: transfer.budget or transfer.data, and who learns it."""
    transfer = settings.get("transfer", {})
    key = {"transfer_budget": "budget", "transfer_data": "data"}[row]
    if key not in transfer:
        raise ArtRLError(
            f"config: tables.{table} asks for {row!r}: transfer.{key} must be given, got "
            f"{', '.join(transfer) or 'nothing'} in transfer; add it or leave the row out"
        )
    if row == "transfer_data" and "folder" in transfer:
        return  # committed schedules: nothing is learned here
    if row == "transfer_data" and transfer["data"] not in settings["models"]:
        raise ArtRLError(
            f"config: transfer.data is {transfer['data']!r}, which is not in models; "
            f"known: {', '.join(settings['models'])}, or give transfer.folder"
        )
    _check_learner(f"tables.{table} asks for {row!r}", transfer["method"], settings)


# Assets of an edm model: key of the configuration -> group of the asset, and the default.
ASSET_KEYS = {
    "checkpoint": ("edm", None),
    "reference": ("fid_refs", None),
    "inception": ("inception", "inception-v3"),
}


def _check_checkpoints(settings: dict[str, Any]) -> None:
    """Assets of edm models, and the metrics of their tables; see check_experiment_settings."""
    # The catalogue as data: art_rl.assets.fetch brings download libraries that a dry run does not need.
    known = json.loads(package_files("art_rl").joinpath("assets/catalogue.json").read_text("utf-8"))
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
        "multipleOf": "a multiple of",
    }
    if error.validator in rules:
        return (
            f"config: {where or 'the file'} must be {rules[error.validator]} "
            f"{error.validator_value}, got {error.instance!r:.80}"
        )
    return f"config: {where}: {' '.join(error.message.split())[:200]}"
