"""What a settings class refused, in one line: the key's path, its rule, the value, and what to do."""

import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Tag, ValidationError

# Parts of an error's location that start so name the kind of a block, not one of its keys.
KIND = "kind="

_RULES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be finite",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "must match {pattern}",
    "tuple_type": "must be a list",
    "dict_type": "must be a block of keys",
    "model_type": "must be a block of keys",
    "model_attributes_type": "must be a block of keys",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
    "union_tag_not_found": "must be a block of keys",
    "union_tag_invalid": "must be one of {expected_tags}",
    "one_of": "must be one of {known}",
    "rule": "{text}",
}


def explain(error: ValidationError, model: type[BaseModel], head: str = "", path: str = "") -> str:
    """One line on the first fault: the key's path, its rule, the value, and what to do.

    Args:
        error: what ``model`` refused.  Unknown keys come first: a misspelt key often also makes another
            one missing.
        head: begins the line, such as "config".
        path: the block's own path, such as "models.toy".
    """
    faults = sorted(error.errors(include_url=False), key=lambda f: f["type"] != "unknown_key")
    fault = faults[0]
    kind = fault["type"]
    context = {
        key: f"{value:g}" if isinstance(value, float) else value
        for key, value in fault.get("ctx", {}).items()
    }
    keys = [part for part in fault["loc"] if part != "[key]" and not str(part).startswith(KIND)]
    head, path = head and f"{head}: ", ".".join([*([path] if path else []), *map(str, keys)])
    if kind == "unknown_key":
        owner = _follow(model, fault["loc"])
        return head + _unknown_key(path, context["key"], owner)
    if kind == "missing":
        about = _description(model, fault["loc"])
        return f"{head}key {path!r} is missing{about and f': {about}'}"
    if kind == "value_error":
        text = " ".join(str(context["error"]).split())
        return f"{head}{path}{'.' if path else ''}{text}"
    value = fault["input"]
    if kind == "union_tag_not_found" and isinstance(value, Mapping):
        return f"{head}key {f'{path}.kind'!r} is missing"
    if kind == "union_tag_invalid":
        path, value = f"{path}.kind", str(context["tag"]).removeprefix(KIND)
        context = {"expected_tags": context["expected_tags"].replace(KIND, "").replace("'", "")}
    if kind == "literal_error":
        names = context["expected"].replace(" or ", ", ").replace("'", "")
        text = f"must be one of {names}"
    else:
        text = _RULES.get(kind, fault["msg"]).format(**context)
    if kind == "string_pattern_mismatch" and "[key]" in fault["loc"]:
        text = f"is no name: lower-case letters, digits and _ ({context['pattern']})"
    return f"{head}{path or 'the file'} {text}, got {value!r:.80}{_way_out(model, fault)}"


def _unknown_key(path: str, key: Any, owner: Any) -> str:
    known = list(getattr(owner, "model_fields", {}))
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if not isinstance(key, str):
        hint = f"; YAML reads it as {type(key).__name__}: write it in quotes if it is a name"
    whole = f"{path}.{key}" if path else str(key)
    return f"unknown key {whole!r}{hint} (known here: {', '.join(known)})"


def _way_out(model: type[BaseModel], fault: Any) -> str:
    """What to do: a number's notation, or the default."""
    if fault["type"] in ("float_type", "int_type") and isinstance(fault["input"], str):
        try:
            number = float(fault["input"])
        except ValueError:
            number = math.nan
        if math.isfinite(number) and (fault["type"] == "float_type" or number.is_integer()):
            return f"; it is text, write {int(number) if number.is_integer() else number!r} without quotes"
    owner = _follow(model, fault["loc"][:-1])
    field = getattr(owner, "model_fields", {}).get(fault["loc"][-1]) if fault["loc"] else None
    if field is None or field.is_required() or not isinstance(field.default, int | float | str):
        return ""
    return f"; leave it out for {field.default!r}"


def _description(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    owner = _follow(model, path[:-1])
    field = getattr(owner, "model_fields", {}).get(path[-1])
    return "" if field is None or not field.description else field.description.split("\n")[0]


def _follow(annotation: Any, path: tuple[int | str, ...]) -> Any:
    """The type that stands at ``path`` below ``annotation``; None where that leads nowhere."""
    for part in path:
        annotation = _step(annotation, part)
    return _bare(annotation)


def _bare(annotation: Any) -> Any:
    """Without Annotated and None."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(annotation) if arm is not type(None)]
        return _bare(arms[0]) if len(arms) == 1 else annotation
    return annotation


def _step(annotation: Any, part: int | str) -> Any:
    annotation = _bare(annotation)
    if part == "[key]":
        return None
    if str(part).startswith(KIND):
        for arm in typing.get_args(annotation):
            if Tag(str(part)) in typing.get_args(arm):
                return arm
        return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return None if field is None else field.annotation
    inner = typing.get_args(annotation)
    return inner[-1 if isinstance(part, str) else 0] if inner else None
