"""Reading a configuration file strictly: what YAML and JSON would drop or reinterpret is refused.

Both keep the last of two equal keys and lose the first without a word; YAML 1.1 reads the keys ``on:``,
``no:`` and ``1:`` as true, false and a number.  A fault names the key's path and its line.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import yaml

from art_rl.errors import ArtRLError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def load(path: str | os.PathLike) -> dict[str, Any]:
    """The keys of a YAML or, with suffix .json, JSON file.

    Raises:
        ArtRLError: the file is missing or no YAML (JSON), its top is no block of keys, a key is repeated
            or read as something else than text, a number is NaN or infinite.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtRLError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtRLError(f"{path}: not readable as UTF-8 text ({error})") from None
    return load_text(text, str(path), "json" if path.suffix == ".json" else "yaml")


def load_text(text: str, name: str, language: str = "yaml") -> dict[str, Any]:
    """As `load`, from text; ``name`` begins the errors."""
    try:
        value = (_json if language == "json" else _yaml)(text)
        if isinstance(value, dict):
            _finite(value, ())
    except yaml.YAMLError as error:
        raise ArtRLError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    except json.JSONDecodeError as error:
        raise ArtRLError(f"{name}: not JSON: {error}") from None
    except RecursionError:
        raise ArtRLError(f"{name}: nested too deeply") from None
    except ArtRLError as error:
        raise ArtRLError(f"{name}: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ArtRLError(f"{name}: must hold keys and values, got {value!r:.80}")
    return value


def _yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node, (), {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_keys(node: Any, path: tuple[str, ...], seen: dict[int, Any]) -> None:
    """Refuse repeated keys and keys that are no text below ``node``; anchors are visited once."""
    if id(node) in seen:
        return
    seen[id(node)] = node
    if isinstance(node, yaml.SequenceNode):
        for index, part in enumerate(node.value):
            _check_keys(part, (*path, str(index)), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:
            _check_keys(value, path, seen)
            continue
        where = ".".join((*path, str(key.value)))
        if key.tag != _STRING:
            kind = key.tag.rsplit(":", 1)[-1]
            raise ArtRLError(
                f"key {where!r} on line {line} is read by YAML as {kind}, not as text: "
                f"write it in quotes, or another name"
            )
        if key.value in lines:
            raise ArtRLError(
                f"key {where!r} is repeated, on lines {lines[key.value]} and {line}: only the last would "
                "count; merge the two or rename one"
            )
        lines[key.value] = line
        _check_keys(value, (*path, key.value), seen)


class _Repeated(dict):
    """A JSON object with a key that comes twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    names = [key for key, _ in pairs]
    repeated = _Repeated(value)
    repeated.key = next(key for key in names if names.count(key) > 1)
    return repeated


def _json(text: str) -> Any:
    value = json.loads(text, object_pairs_hook=_object)
    _refuse_repeated(value, ())
    return value


def _refuse_repeated(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, _Repeated):
        where = ".".join((*path, value.key))
        raise ArtRLError(
            f"key {where!r} is repeated: only the last would count; merge the two or rename one"
        )
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(part, dict | list):
            _refuse_repeated(part, (*path, str(key)))


def _finite(value: Any, path: tuple[str, ...]) -> None:
    """Refuse NaN and infinity wherever they stand."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtRLError(f"{'.'.join(path)} must be finite, got {value!r}")
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            _finite(part, (*path, str(key)))
