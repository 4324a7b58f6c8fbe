"""The settings tree in words: a JSON schema for editors, and tables of every block's keys."""

import json
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.settings.experiment import Configuration

BEGIN = "<!-- keys: made by python -m art_rl.settings -->"
END = "<!-- end of keys -->"


def schema_text() -> str:
    """The JSON schema (draft 2020-12) of a configuration file, for editors that complete and check keys.

    It states types, bounds and names; rules between keys are checked by the workflow alone.
    """
    schema = Configuration.model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Made by python -m art_rl.settings from src/art_rl/settings/.",
        **schema,
    }
    return json.dumps(_tidy(schema), indent=1, ensure_ascii=False) + "\n"


# Bounds behind a validator that runs first keep pydantic's names.
_JSON_NAMES = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _tidy(value: Any) -> Any:
    """Without titles, which repeat the keys' names; descriptions in one line; JSON schema's words."""
    if isinstance(value, list):
        return [_tidy(part) for part in value]
    if not isinstance(value, dict):
        return value
    names = _JSON_NAMES if "type" in value else {}
    if value.get("type") == "array":
        names = {**names, "minLength": "minItems", "maxLength": "maxItems"}
    found = {}
    for key, part in value.items():
        if key == "title" and isinstance(part, str):
            continue
        if key == "description" and isinstance(part, str):
            part = " ".join(part.split())
        found[names.get(key, key)] = _tidy(part)
    return found


def key_tables() -> str:
    """Markdown: one table of keys per block, in the order in which the file refers to them."""
    schema = _tidy(Configuration.model_json_schema())
    blocks = {"": ("The file", schema), **_below(schema, "", schema["$defs"], {})}
    parts = []
    for title, block in blocks.values():
        lines = [f"#### {title}", "", block["description"], ""]
        lines += ["| key | value | default | what |", "|---|---|---|---|"]
        for name, key in block["properties"].items():
            default = "required" if name in block.get("required", ()) else _default(key)
            inherited = schema["$defs"].get(_block(key), {}).get("description", "")
            about = key.get("description", inherited).replace("|", "\\|")
            lines.append(f"| `{name}` | {_kind(key)} | {default} | {about} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def replace_tables(text: str, tables: str) -> str:
    """``text`` with what stands between the two marks replaced by ``tables``."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ArtRLError(f"config/README.md must hold {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def _block(key: dict[str, Any]) -> str:
    """Name of the block that a key holds, or ""."""
    arms = [key, *(arm for arm in key.get("anyOf", []) if arm != {"type": "null"})]
    return next((arm["$ref"].rsplit("/", 1)[1] for arm in arms if "$ref" in arm), "")


def _default(key: dict[str, Any]) -> str:
    value = key["default"]
    if _block(key):  # values that go over another block's: none of their own
        return "its defaults" if value and any(v is not None for v in value.values()) else ""
    if value is None:
        return "null" if "anyOf" in key else ""
    return "" if value == {} else f"`{json.dumps(value)}`"


def _below(
    block: dict[str, Any], path: str, known: dict[str, Any], found: dict[str, tuple[str, Any]]
) -> dict[str, tuple[str, Any]]:
    """Every block below ``block`` by name, and the path it stands at, depth first."""
    for name, key in block["properties"].items():
        here = f"{path}.{name}" if path else name
        for arm in key.get("anyOf", [key]):
            named = arm.get("additionalProperties") or next(
                iter(arm.get("patternProperties", {}).values()), None
            )
            where = f"{here}.\\<name\\>" if isinstance(named, dict) else here
            value = named if isinstance(named, dict) else arm
            for each in value.get("oneOf", [value]):
                inner = _block(each)
                if not inner or inner in found or inner.endswith("Over"):  # the common block's keys
                    continue
                kind = known[inner]["properties"].get("kind", {}).get("const")
                title = f"{where} (kind: {kind})" if kind else where
                found[inner] = (title, known[inner])
                _below(known[inner], title, known, found)
    return found


_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}


def _kind(key: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in key:
        return _kind(key["anyOf"][0]) + ("" if _block(key) else " or null")
    if "const" in key:
        return str(key["const"])
    if "enum" in key:
        known = key["enum"]
        return ", ".join(known) if len(known) < 9 else "an id of the registry"
    if "oneOf" in key:
        return "block, by kind"
    if "$ref" in key:
        return "block"
    if key["type"] == "array":
        return f"list: {_kind(key['items'])}"
    if key["type"] == "object":
        return "blocks by name"
    bounds = [
        f"{words} {'2^63 - 1' if key[bound] == 2**63 - 1 else f'{key[bound]:g}'}"
        for bound, words in _BOUNDS.items()
        if bound in key
    ]
    return ", ".join([_NAMES[key["type"]], *bounds])
