"""Measurements as files: arrays with a JSON head in one ``.npz``."""

import json
import os
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.files import parse_json, read_npz, write_npz


class Measurement:
    """Base of dataclasses whose fields are arrays, arrays by number, and JSON-like facts."""

    FORMAT: ClassVar[str]
    WHAT: ClassVar[str]  # in words, for errors
    ARRAYS: ClassVar[tuple[str, ...]]
    # Fields of the form {number: array}; <name>_<number> in the file.
    NUMBERED: ClassVar[tuple[str, ...]] = ()

    def save(self, path: str | os.PathLike) -> None:
        """Write as ``.npz``, atomically."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        arrays = {name: facts.pop(name) for name in self.ARRAYS}
        for name in self.NUMBERED:
            arrays |= {f"{name}_{number}": value for number, value in facts.pop(name).items()}
        head = json.dumps({"format": self.FORMAT, **facts})
        write_npz(path, head=np.array(head), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read what `save` wrote; anything else is an ArtRLError naming the file."""
        arrays = read_npz(path)
        try:
            values: dict[str, Any] = dict(parse_json(str(arrays.pop("head"))))
            if values.pop("format") != cls.FORMAT:
                raise ArtRLError(f"its format is not {cls.FORMAT!r}")
            values |= {name: arrays[name] for name in cls.ARRAYS}
            for name in cls.NUMBERED:
                own = [key for key in arrays if key.removeprefix(f"{name}_").isdecimal()]
                numbers = sorted(int(key.removeprefix(f"{name}_")) for key in own)
                values[name] = {number: arrays[f"{name}_{number}"] for number in numbers}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtRLError(f"{path}: not {cls.WHAT} ({error})") from None
