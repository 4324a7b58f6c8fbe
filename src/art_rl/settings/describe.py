"""The settings tree in words: a JSON schema for editors, and tables of every block's keys."""

import json
import types
import typing
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from art_rl.errors import ArtRLError
from art_rl.settings.base import Closed, OneOf
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
    parts = []
    for block, path in _blocks(Configuration, "", {}).items():
        lines = [f"#### {path or 'The file'}", "", " ".join((block.__doc__ or "").split()), ""]
        lines += ["| key | value | default | what |", "|---|---|---|---|"]
        for name, field in block.model_fields.items():
            kind = _kind(field.annotation, field.metadata)
            default = "required" if field.is_required() else _default(field)
            about = " ".join((field.description or "").split()).replace("|", "\\|")
            lines.append(f"| `{name}` | {kind} | {default} | {about} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def replace_tables(text: str, tables: str) -> str:
    """``text`` with what stands between the two marks replaced by ``tables``."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ArtRLError(f"config/README.md must hold {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Closed):
        return "" if not value.to_dict() or value.written == "given" else "its defaults"
    if value is None:
        return "null" if _allows_none(field.annotation) and not _is_block(field.annotation) else ""
    if isinstance(value, tuple):
        value = list(value)
    return "" if value == {} else f"`{json.dumps(value)}`"


def _allows_none(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _is_block(annotation: Any) -> bool:
    return any(isinstance(arm, type) and issubclass(arm, Closed) for arm in _arms(annotation))


def _arms(annotation: Any) -> list[Any]:
    """The types a value may have, without Annotated."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [arm for part in typing.get_args(annotation) for arm in _arms(part)]
    return [annotation]


def _blocks(block: type[Closed], path: str, found: dict[Any, str]) -> dict[Any, str]:
    """Every block below ``block`` and the path it stands at, depth first."""
    if block in found or block.written == "given":  # the common block's keys
        return found
    found[block] = path
    for name, field in block.model_fields.items():
        here = f"{path}.{name}" if path else name
        _below(field.annotation, here, found)
    return found


def _below(annotation: Any, path: str, found: dict[Any, str]) -> None:
    arms = _arms(annotation)
    for arm in arms:
        if isinstance(arm, type) and issubclass(arm, Closed):
            kind = arm.model_fields.get("kind")
            name = typing.get_args(kind.annotation)[0] if kind is not None else ""
            _blocks(arm, f"{path} (kind: {name})" if name else path, found)
        elif typing.get_origin(arm) is dict:
            _below(typing.get_args(arm)[1], f"{path}.\\<name\\>", found)


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_BOUNDS = {
    Ge: ("ge", "at least"),
    Gt: ("gt", "above"),
    Le: ("le", "at most"),
    Lt: ("lt", "below"),
    MultipleOf: ("multiple_of", "a multiple of"),
}


def _kind(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """What a value may be, in words."""
    while typing.get_origin(annotation) is Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata = [*more, *metadata]
    known = [names.known for names in metadata if isinstance(names, OneOf)]
    if known:
        return ", ".join(known[0]) if len(known[0]) < 9 else "an id of the registry"
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(map(str, typing.get_args(annotation)))
    if origin in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(annotation) if arm is not type(None)]
        if len(arms) > 1:
            return "block, by kind"
        return _kind(arms[0], metadata) + ("" if _is_block(arms[0]) else " or null")
    if origin is tuple:
        return f"list: {_kind(typing.get_args(annotation)[0])}"
    if origin is dict:
        return "blocks by name"
    if isinstance(annotation, type) and issubclass(annotation, Closed):
        return "block"
    bounds = []
    for entry in _flat(metadata):
        for kind, (attribute, words) in _BOUNDS.items():
            value = getattr(entry, attribute, None) if isinstance(entry, kind) else None
            if value is not None:
                bounds.append(f"{words} {'2^63 - 1' if value == 2**63 - 1 else f'{value:g}'}")
    return ", ".join([_NAMES.get(annotation, "text"), *bounds])


def _flat(metadata: typing.Sequence[Any]) -> list[Any]:
    """Bounds, also those inside pydantic's Field."""
    return [part for entry in metadata for part in getattr(entry, "metadata", [entry])]
