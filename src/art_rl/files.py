"""Files written whole or not at all, and digests of files and of JSON-like values."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` only if the block succeeds.

    The temporary name keeps the suffix of ``path`` (savers that append one, like ``np.savez``, work).
    On an exception the temporary file is removed and ``path`` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes 0600 files; give the result the permissions an ordinary open() would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically.  NaN and infinity are refused (ArtRLError)."""
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise ArtRLError(
            f"{path}: not written, the value holds NaN or infinity ({error})"
        ) from None
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; a missing, truncated or non-standard (NaN) file is an ArtRLError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise ArtRLError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise ArtRLError(f"{path}: not a JSON file, damaged or truncated? ({error})") from None


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """The values of a JSON lines file, one per line; a missing or damaged file is an ArtRLError."""
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise ArtRLError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ArtRLError(f"{path}: not JSON lines, damaged or truncated? ({error})") from None


def write_npz(path: str | os.PathLike, *, compressed: bool = True, **arrays: np.ndarray) -> None:
    """Write an ``.npz`` atomically; compressing pays for images, not for sums of features."""
    with atomic_path(path) as temporary:
        (np.savez_compressed if compressed else np.savez)(temporary, **arrays)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read an ``.npz`` without unpickling; a missing or damaged file is an ArtRLError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ArtRLError(f"{path}: no such file") from None
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise ArtRLError(
            f"{path}: not a readable npz file, damaged or truncated? ({error})"
        ) from None


def sha256_file(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
