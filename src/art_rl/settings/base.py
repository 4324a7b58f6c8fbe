"""What every settings class is made of: closed models, types, and faults said in one line.

A settings class holds each key's type, bounds, default and description once.  The workflow's file, the
library's functions, the JSON schema for editors and the tables of config/README.md all use it.

    class Size(Closed):
        channels: Annotated[Whole, Field(ge=8, multiple_of=8)] = 32
        \"\"\"Width of the network.\"\"\"

``Size(channels=12)`` raises an ArtRLError, "channels must be a multiple of 8, got 12; ...".
"""

import difflib
import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from art_rl.errors import ArtRLError
from art_rl.files import digest

# Parts of an error's location that start so name the kind of a block, not one of its keys.
KIND = "kind="


class Closed(BaseModel):
    """A settings block: unknown keys are refused, values are checked once and never change.

    Constructing one, by position or by name, raises an ArtRLError of one line instead of pydantic's
    ValidationError.  A rule between keys is a ``model_validator(mode="after")`` that raises an
    ArtRLError whose text starts with the key, such as "noise_end must not exceed ...".
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=False,
    )

    # Which keys `plain` writes: all, those that differ from the default, or those that were given.
    written: ClassVar[str] = "all"
    # Keys that `plain` writes at their default too, because rules of the workflow read them.
    always: ClassVar[tuple[str, ...]] = ()

    def __init__(self, /, *arguments: Any, **values: Any) -> None:
        names = list(type(self).model_fields)
        if len(arguments) > len(names):
            raise ArtRLError(
                f"{type(self).__name__} takes at most {len(names)} values, got {len(arguments)}"
            )
        given = dict(zip(names, arguments, strict=False))
        if twice := given.keys() & values.keys():
            raise ArtRLError(f"{min(twice)} is given by position and by name; give it once")
        try:
            super().__init__(**given, **values)
        except ValidationError as error:
            raise ArtRLError(explain(error, type(self))) from None

    # Only direct calls go through __init__; blocks inside blocks keep their errors' paths.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError("unknown_key", "unknown key", {"key": key})
        return data

    def replace(self, **changes: Any) -> Self:
        """A checked copy with other values for some keys."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Every key and its value, JSON-like."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of every key and value."""
        return digest(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], head: str = "", path: str = "") -> Self:
        """From a plain mapping; ``head`` and ``path`` say where it stands, see `explain`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ArtRLError(explain(error, cls, head, path)) from None

    def plain(self, written: str | None = None) -> dict[str, Any]:
        """The block as JSON-like values in one normal form, whether defaults were written or left out.

        Args:
            written: which keys, instead of the class's own choice: "all" (but None by default),
                "changed" (those that differ from their default) or "given" (values that go over another
                block's).
        """
        found = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            unchanged = not field.is_required() and value == field.get_default(
                call_default_factory=True
            )
            # A block that holds nothing but defaults is the same as none.
            empty = value is None or (isinstance(value, Closed) and not value.plain())
            drop = {
                "all": empty and unchanged,
                "changed": unchanged,
                "given": name not in self.model_fields_set,
            }[written or self.written]
            if not drop or (name in self.always and value is not None):
                found[name] = _plain(value)
        return found


class Over(Closed):
    """Values that go over those of another block; see `over`."""

    written = "given"


def over(block: type[Closed], leave_out: Collection[str] = ()) -> type[Over]:
    """A class for some of the keys of ``block``, none required, to go over another block of it."""
    fields: dict[str, Any] = {}
    for name, field in block.model_fields.items():
        if name not in leave_out:
            kind: Any = field.annotation
            if field.metadata:
                kind = Annotated[(kind, *field.metadata)]
            fields[name] = (kind, Field(default=None, description=field.description))
    return create_model(
        f"{block.__name__}Over",
        __base__=Over,
        __module__=block.__module__,
        __doc__=f"{block.__doc__}  Values of one model, over the common ones.",
        **fields,
    )


def by_kind(default: str | None = None) -> Discriminator:
    """Chooses the block of a union by its key ``kind``; its arms are tagged "kind=<kind>"."""

    def kind(value: Any) -> str | None:
        if isinstance(value, Mapping):
            found = value.get("kind", default)
            return None if found is None else f"{KIND}{found}"
        return f"{KIND}{value.kind}" if hasattr(value, "kind") else None

    return Discriminator(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Closed):
        return value.plain()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


# Types of keys.


def _whole(value: Any) -> Any:
    """5.0e+2 is 500."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(value: Any) -> Any:
    """Files hold lists, settings tuples."""
    return tuple(value) if isinstance(value, list) else value


def _unique(value: Any) -> Any:
    if isinstance(value, tuple):
        for index, part in enumerate(value):
            if part in value[:index]:
                raise rule(f"must not repeat an entry, has {part!r} twice")
    return value


def _name(value: Any) -> Any:
    words = {"nan", "inf", "infinity", "null", "none", "true", "false"}
    if isinstance(value, str) and value.lower() in words:
        raise rule("must not read as a number or an empty value in a table of results")
    return value


def rule(text: str) -> PydanticCustomError:
    """The error of a key's own rule: "must be even"; path and value are added by `explain`."""
    return PydanticCustomError("rule", "{text}", {"text": text})


class OneOf:
    """The value is one of ``known``; for ids that a registry holds."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = list(known)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        def check(value: str) -> str:
            if value not in self.known:
                raise PydanticCustomError(
                    "one_of", "must be one of {known}", {"known": ", ".join(self.known)}
                )
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": self.known}


LIST = BeforeValidator(_listed)
UNIQUE = BeforeValidator(lambda value: _unique(_listed(value)))
Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(ge=1)]
# torch's generators take seeds below 2^63.
Seed = Annotated[Whole, Field(ge=0, le=2**63 - 1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, BeforeValidator(_name), Field(pattern=r"^[a-z][a-z0-9_]*$")]


# Faults in one line.

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
    known = list(owner.model_fields) if isinstance(owner, type) else []
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
            return f"; it is text, write {_whole(number)!r} without quotes"
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
