"""What every settings class is made of: closed models, types, and faults said in one line.

A settings class holds each key's type, bounds, default and description once.  The workflow's file, the
library's functions, the JSON schema for editors and the tables of config/README.md all use it.

    class Size(Closed):
        channels: Annotated[Whole, Field(ge=8, multiple_of=8)] = 32
        \"\"\"Width of the network.\"\"\"

``Size(channels=12)`` raises an ArtRLError, "channels must be a multiple of 8, got 12; ...".
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.settings.faults import KIND, explain


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

    # Descriptions come with the fields; to look for docstrings, pydantic searches all modules.
    model_config = ConfigDict(use_attribute_docstrings=False)

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
Steps = Annotated[Whole, Field(ge=2)]
# torch's generators take seeds below 2^63.
Seed = Annotated[Whole, Field(ge=0, le=2**63 - 1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, BeforeValidator(_name), Field(pattern=r"^[a-z][a-z0-9_]*$")]
