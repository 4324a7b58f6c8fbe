"""Closed settings classes and the strict loader: every fault is one line with path, rule, value, way out."""

from typing import Annotated, Literal

import pytest
from pydantic import Discriminator, Field, Tag, model_validator

from art_rl.errors import ArtRLError
from art_rl.settings.base import (
    LIST,
    UNIQUE,
    Closed,
    Count,
    Name,
    OneOf,
    Positive,
    Seed,
    Share,
    Whole,
    rule,
)
from art_rl.settings.load import load, load_text


class Part(Closed):
    width: Annotated[Whole, Field(ge=8, multiple_of=8)]
    """Width of a part, in channels."""
    form: Literal["open", "shut"] = "open"
    """How it looks."""


class Round(Closed):
    kind: Literal["round"]
    """A round one."""
    radius: Positive
    """Its radius."""


class Square(Closed):
    kind: Literal["square"] = "square"
    """A square one."""
    side: Positive
    """Its side."""


def kind_of(value):
    kind = value.get("kind", "square") if isinstance(value, dict) else value.kind
    return f"kind={kind}"


class Whole_(Closed):
    written = "changed"
    rate: Positive = 0.5
    """A rate."""
    seed: Seed = 0
    """A seed."""
    share: Share | None = None
    """A share, or None."""
    on: bool = True
    """A switch."""
    solver: Annotated[str, OneOf(["euler", "heun"])] = "heun"
    """A solver."""
    budgets: Annotated[tuple[Count, ...], UNIQUE, Field(min_length=1)] = (2,)
    """Numbers of steps."""
    grid: Annotated[tuple[float, ...], LIST] = ()
    """Numbers."""
    parts: dict[Name, Part] = Field(default={})
    """Parts by name."""
    shape: Annotated[
        Annotated[Round, Tag("kind=round")] | Annotated[Square, Tag("kind=square")],
        Discriminator(kind_of),
    ] = Square(side=1.0)
    """A shape."""

    @model_validator(mode="after")
    def _rules(self):
        if self.rate > 10 * len(self.budgets):
            raise ArtRLError(f"rate must not exceed 10 per budget, got {self.rate}")
        return self


FAULTS = {
    "unknown": (
        {"rtae": 1.0},
        "config: unknown key 'rtae'; did you mean 'rate'? (known here: rate, seed",
    ),
    "unknown inside": (
        {"parts": {"a": {"width": 8, "from": "open"}}},
        "config: unknown key 'parts.a.from'; did you mean 'form'? (known here: width, form)",
    ),
    "unknown before missing": (
        {"parts": {"a": {"widht": 8}}},
        "config: unknown key 'parts.a.widht'; did you mean 'width'?",
    ),
    "key true": (
        {True: 1},
        "config: unknown key 'True'; YAML reads it as bool: write it in quotes",
    ),
    "missing": (
        {"parts": {"a": {}}},
        "config: key 'parts.a.width' is missing: Width of a part, in channels.",
    ),
    "bound": ({"rate": 0}, "config: rate must be greater than 0, got 0; leave it out for 0.5"),
    "multiple": (
        {"parts": {"a": {"width": 12}}},
        "config: parts.a.width must be a multiple of 8, got 12",
    ),
    "seed": (
        {"seed": 2**63},
        "config: seed must be at most 9223372036854775807, got 92233720368547758",
    ),
    "fraction": ({"seed": 1.5}, "config: seed must be a whole number, got 1.5; leave it out for 0"),
    "truth as number": ({"seed": True}, "config: seed must be a whole number, got True"),
    "number as truth": ({"on": 1}, "config: on must be true or false, got 1"),
    "text": (
        {"rate": "1e2"},
        "config: rate must be a number, got '1e2'; it is text, write 100 without",
    ),
    "nan": ({"rate": float("nan")}, "config: rate must be finite, got nan"),
    "inf": ({"grid": [1.0, float("inf")]}, "config: grid.1 must be finite, got inf"),
    "share": ({"share": 1.5}, "config: share must be at most 1, got 1.5"),
    "literal": (
        {"parts": {"a": {"width": 8, "form": "ajar"}}},
        "config: parts.a.form must be one of open, shut, got 'ajar'; leave it out for 'open'",
    ),
    "one of": ({"solver": "rk5"}, "config: solver must be one of euler, heun, got 'rk5'"),
    "no list": ({"budgets": 3}, "config: budgets must be a list, got 3"),
    "empty": ({"budgets": []}, "config: budgets must have 1 or more entries, got []"),
    "repeated entry": (
        {"budgets": [2, 2]},
        "config: budgets must not repeat an entry, has 2 twice",
    ),
    "entry": ({"budgets": [2, 0]}, "config: budgets.1 must be at least 1, got 0"),
    "name": (
        {"parts": {"A b": {"width": 8}}},
        "config: parts.A b is no name: lower-case letters, digits",
    ),
    "name nan": ({"parts": {"nan": {"width": 8}}}, "config: parts.nan must not read as a number"),
    "block": ({"parts": {"a": 3}}, "config: parts.a must be a block of keys, got 3"),
    "kind": (
        {"shape": {"kind": "oval"}},
        "config: shape.kind must be one of round, square, got 'oval'",
    ),
    "inside a kind": (
        {"shape": {"kind": "round"}},
        "config: key 'shape.radius' is missing: Its radius.",
    ),
    "default kind": (
        {"shape": {"radius": 1.0}},
        "config: unknown key 'shape.radius' (known here: kind, side",
    ),
    "between keys": ({"rate": 11.0}, "config: rate must not exceed 10 per budget, got 11.0"),
}


@pytest.mark.parametrize(("values", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_one_line(values, message):
    with pytest.raises(ArtRLError) as caught:
        Whole_.from_dict(values, "config")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_paths_begin_where_the_block_stands():
    with pytest.raises(ArtRLError) as caught:
        Part.from_dict({"width": 4}, "config", "parts.a")
    assert str(caught.value) == "config: parts.a.width must be at least 8, got 4"
    with pytest.raises(ArtRLError) as caught:
        Whole_.from_dict({"rate": 11.0}, "config", "models.toy")
    assert str(caught.value).startswith("config: models.toy.rate must not exceed")


def test_direct_construction():
    assert Part(8, "shut") == Part(width=8, form="shut")
    for wrong, message in (
        (lambda: Part(12), "width must be a multiple of 8, got 12"),
        (lambda: Part(), "key 'width' is missing: Width of a part"),
        (lambda: Part(8, "open", 3), "Part takes at most 2 values, got 3"),
        (lambda: Part(8, width=8), "width is given by position and by name"),
        (lambda: Whole_(rate=20.0), "rate must not exceed 10 per budget, got 20.0"),
        (lambda: Part(8).replace(width=9), "width must be a multiple of 8, got 9"),
    ):
        with pytest.raises(ArtRLError) as caught:
            wrong()
        assert str(caught.value).startswith(message)
    assert Part(8).replace(form="shut").to_dict() == {"width": 8, "form": "shut"}
    with pytest.raises(ValueError, match="frozen"):
        Part(8).width = 16


def test_whole_floats_are_integers_and_lists_tuples():
    settings = Whole_.from_dict({"seed": 5.0e2, "budgets": [2.0, 3], "rate": 2})
    assert settings.seed == 500 and isinstance(settings.seed, int)
    assert settings.budgets == (2, 3) and isinstance(settings.rate, float)


def test_normal_form_is_the_same_with_defaults_written_or_left_out():
    written = Whole_.from_dict({"rate": 0.5, "seed": 3, "share": None, "budgets": [2]})
    assert written.plain() == Whole_(seed=3).plain() == {"seed": 3}
    assert written.digest == Whole_(seed=3).digest

    class Complete(Whole_):
        written = "all"

    assert Complete(grid=[1.0]).plain() == {
        "rate": 0.5,
        "seed": 0,
        "on": True,
        "solver": "heun",
        "budgets": [2],
        "grid": [1.0],
        "parts": {},
        "shape": {"kind": "square", "side": 1.0},
    }

    class Over(Whole_):
        written = "given"

    assert Over(rate=0.5).plain() == {"rate": 0.5}


YAML_FAULTS = {
    "repeated": ("a: 1\nb: 2\na: 3\n", "key 'a' is repeated, on lines 1 and 3: only the last"),
    "repeated inside": ("t:\n  x: {m: 1, m: 2}\n", "key 't.x.m' is repeated, on lines 2 and 2"),
    "repeated in a list": ("t:\n- m: 1\n  m: 2\n", "key 't.0.m' is repeated"),
    "on": (
        "t:\n  on: 1\n",
        "key 't.on' on line 2 is read by YAML as bool, not as text: write it in",
    ),
    "no": ("no: 1\n", "key 'no' on line 1 is read by YAML as bool"),
    "number": ("1: 2\n", "key '1' on line 1 is read by YAML as int"),
    "null": ("~: 2\n", "key '~' on line 1 is read by YAML as null"),
    "nan": ("a: [1.0, .nan]\n", "a.1 must be finite, got nan"),
    "inf": ("a: {b: -.inf}\n", "a.b must be finite, got -inf"),
    "list": ("- 1\n", "must hold keys and values, got [1]"),
    "broken": ("a: [1\n", "not YAML: "),
    "tag": ("a: !!python/object:os.system 1\n", "not YAML: "),
}


@pytest.mark.parametrize(("text", "message"), YAML_FAULTS.values(), ids=YAML_FAULTS)
def test_yaml_fault_is_one_line(text, message):
    with pytest.raises(ArtRLError) as caught:
        load_text(text, "c.yaml")
    assert str(caught.value).startswith(f"c.yaml: {message}")
    assert "\n" not in str(caught.value)


def test_yaml_merge_keys_anchors_and_quotes_are_read():
    text = "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  b: 3\n'on': *x\n"
    assert load_text(text, "") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 3, "c": 2},
        "on": {"b": 1, "c": 2},
    }
    assert load_text("# nothing\n", "") == {}


def test_json_fault_is_one_line(tmp_path):
    path = tmp_path / "c.json"
    for text, message in (
        (
            '{"a": {"b": [{"c": 1, "c": 2}]}}',
            "key 'a.b.0.c' is repeated: only the last would count",
        ),
        ('{"a": 1,\n\t"a": 2}', "key 'a' is repeated"),
        ('{"a": NaN}', "a must be finite, got nan"),
        ('{"a": ', "not JSON: "),
        ("[]", "must hold keys and values, got []"),
    ):
        path.write_text(text)
        with pytest.raises(ArtRLError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: {message}")
    path.write_text('{"a": {"b": [1, {"c": 2}]}}')
    assert load(path) == {"a": {"b": [1, {"c": 2}]}}
    with pytest.raises(ArtRLError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_own_rules_are_said_with_path_and_value():
    error = rule("must be even")
    assert error.message() == "must be even"
