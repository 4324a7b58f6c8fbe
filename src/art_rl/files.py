"""Files written whole or not at all, checked when they are read, and digests of files and values.

Nothing that feeds numbers may change unseen between writing and reading:

    JSON objects   carry the digest of their content under the key ``content_sha256``
    .csv, .jsonl   have it beside them, <name>.sha256, where a rule wrote them (`seal`)
    .npz           have their checksums (zip); safetensors: `art_rl.denoisers.tensors`

JSON objects and tables without a digest (made by hand, or by other programs) are read as they are.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from art_rl.errors import ArtRLError

# Start of the names of files and folders that are being written or removed.
TEMPORARY = ".tmp-"
CONTENT_DIGEST = "content_sha256"
SEAL = ".sha256"
STATE = "state-"


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` only if the block succeeds.

    The temporary name keeps the suffix of ``path`` (savers that append one, like ``np.savez``, work).
    On an exception the temporary file is removed and ``path`` is left as it was.  What a killed process
    leaves behind is told from what a living one writes by a lock; see `remove_leftovers`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f"{TEMPORARY}{path.stem}.", suffix=path.suffix, dir=path.parent
    )
    temporary = Path(name)
    try:
        _lock(handle)
        yield temporary
        # mkstemp makes 0600 files; give the result the permissions an ordinary open() would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Take an advisory lock without waiting; False if another process holds it, None if there are none."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextmanager
def exclusive(path: str | os.PathLike) -> Iterator[None]:
    """Hold an advisory lock named after ``path``, waiting for whoever holds it.

    Its file, .<name>.guard, is gone when nobody holds or waits for the lock.
    """
    import fcntl

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = path.with_name(f".{path.name}.guard")
    while True:
        handle = os.open(guard, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_named(handle, guard):
            break
        os.close(handle)  # whoever held it has removed the file: such a lock locks nobody out
    try:
        yield
    finally:
        guard.unlink(missing_ok=True)
        os.close(handle)


def _is_named(handle: int, path: Path) -> bool:
    """Whether ``path`` still is the name of the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_like(value: Any, name: str = "value") -> Any:
    """``value`` as JSON reads it back: NumPy numbers and arrays as numbers and lists, tuples as lists.

    Raises:
        ArtRLError: something JSON cannot hold, named by its place in ``value``.
    """
    if value is None or isinstance(value, bool | int | float | str):
        # Subclasses as well: np.float64 is a float, an IntEnum an int.
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic | np.ndarray):
        return json_like(value.tolist(), name)
    if isinstance(value, list | tuple):
        return [json_like(part, f"{name}[{i}]") for i, part in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise ArtRLError(f"{name}: keys must be text, got {key!r:.80}")
        return {str(key): json_like(part, f"{name}.{key}") for key, part in value.items()}
    raise ArtRLError(
        f"{name} must be JSON-like (numbers, text, lists, objects), got {type(value).__name__}"
    )


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; an object with its digest as the last key.

    Raises:
        ArtRLError: NaN, infinity, or something JSON cannot hold.
    """
    try:
        value = json_like(value)
        if isinstance(value, dict):
            value.pop(CONTENT_DIGEST, None)
            value[CONTENT_DIGEST] = digest(value)
        text = json.dumps(value, indent=2, allow_nan=False)
    except ArtRLError as error:
        raise ArtRLError(f"{path}: not written, {error}") from None
    except ValueError as error:
        raise ArtRLError(
            f"{path}: not written, the value holds NaN or infinity ({error})"
        ) from None
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; an object comes without its ``content_sha256``.

    Raises:
        ArtRLError: a missing, truncated or non-standard (NaN) file, a key given twice, something that is
            no JSON file at all (said what it looks like), or content that does not fit its digest.
    """
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(path, "a JSON file", error) from None
    if isinstance(value, dict) and CONTENT_DIGEST in value:
        stated = value.pop(CONTENT_DIGEST)
        if digest(value) != stated:
            raise ArtRLError(
                f"{path}: its content does not fit its {CONTENT_DIGEST}: damaged, or edited by hand; "
                f"make it again, or delete that line if the edit was meant"
            )
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text; ValueError for NaN, infinity and keys given twice."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _TwiceError(f"the key {twice!r} is given {keys.count(twice)} times")
        return value

    return json.loads(text, parse_constant=refuse, object_pairs_hook=distinct)


class _TwiceError(ValueError):
    """A key given twice: not damage, so the message does not guess at any."""


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """The values of a JSON lines file, one per line; a missing or damaged file is an ArtRLError."""
    check_seal(path)
    try:
        return [parse_json(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(path, "JSON lines", error) from None


def write_npz(path: str | os.PathLike, *, compressed: bool = True, **arrays: ArrayLike) -> None:
    """Write an ``.npz`` atomically; compressing pays for images, not for sums of features."""
    with atomic_path(path) as temporary:
        save: Callable[..., None] = np.savez_compressed if compressed else np.savez
        save(temporary, **arrays)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read an ``.npz`` without unpickling; a missing or damaged file is an ArtRLError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
            if not all(isinstance(value, np.ndarray) for value in arrays.values()):
                raise ValueError("a zip archive of something else than arrays")
            return arrays
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise _unreadable(path, "a readable npz file", error) from None


def _unreadable(path: str | os.PathLike, wanted: str, error: Exception) -> ArtRLError:
    """What to say of a file that cannot be read: what it is, if that shows, else that it is damaged."""
    fault = fault_of_file(path)
    if fault is None and isinstance(error, _TwiceError):
        fault = f"not {wanted}: {error}"
    elif fault is None:
        fault = f"not {wanted}, damaged or truncated? ({error})"
    return ArtRLError(f"{path}: {fault}")


_LFS = b"version https://git-lfs"


def fault_of_file(path: str | os.PathLike, pickles: bool = False) -> str | None:
    """Why a file that cannot be read as what it should be is something else; None if that does not show.

    Args:
        pickles: whether a pickle is what it should be.
    """
    path = Path(path)
    if path.is_dir():
        return "a folder, not a file"
    if not path.exists():
        return "no such file"
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if start.startswith(_LFS):
        return "a Git LFS pointer, not the file itself; run `git lfs pull`"
    if start.lstrip()[:9].lower() in (b"<!doctype", b"<html>") or start.lstrip()[:5] == b"<html":
        return "a web page, not the file itself; download it again"
    if pickles:
        return None
    if start[:4] == b"PK\x03\x04" and b"data.pkl" in start:
        return "a PyTorch file (.pt, .pth), which holds a pickle; see docs/checkpoints.md"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return (
            "a pickle (.pkl, or .pt of an old PyTorch), which is not read; see docs/checkpoints.md"
        )
    return None


def seal(path: str | os.PathLike) -> None:
    """Write the digest of a file beside it, <name>.sha256, in the format of ``sha256sum``."""
    path = Path(path)
    write_text(path.with_name(path.name + SEAL), f"{sha256_file(path)}  {path.name}\n")


def check_seal(path: str | os.PathLike) -> None:
    """ArtRLError if a file does not fit the digest beside it; a file without one passes."""
    path = Path(path)
    beside = path.with_name(path.name + SEAL)
    try:
        stated = beside.read_text(encoding="utf-8").split()
        found = sha256_file(path)
    except (FileNotFoundError, IsADirectoryError):
        return
    except UnicodeDecodeError:
        stated, found = [], ""
    if stated[:1] != [found]:
        raise ArtRLError(
            f"{path}: its content does not fit {beside.name}: damaged, or edited by hand; delete both "
            "to make it again, or the latter if the edit was meant"
        )


@contextmanager
def state_folder(product: str | os.PathLike, key: str, wait: float = 40.0) -> Iterator[Path]:
    """The folder in which the job that makes ``product`` keeps what it needs to go on after a kill.

    It lies beside the product, and is made here; folders of the same product with another key (other
    settings, other code) are removed.  `remove_leftovers` removes it when the product is there.  It is
    this process's alone inside the block, where the file system has locks.

    Args:
        product: the file to be made.
        key: digest of what it depends on.
        wait: seconds to wait for another process that is about to end (Slurm gives a cancelled job 30).

    Raises:
        ArtRLError: a living process works in such a folder: two runs at once, or a job that outlived its run.
    """
    product = Path(product)
    folder = product.with_name(f"{STATE}{product.name}-{key}")
    folder.mkdir(parents=True, exist_ok=True)
    handles = []
    try:
        for each in sorted(product.parent.glob(f"{STATE}{product.name}-*")):
            handle = os.open(each / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            handles.append(handle)
            until = time.monotonic() + wait
            while _lock(handle) is False:
                if time.monotonic() > until:
                    raise ArtRLError(
                        f"{each}: another process is making {product.name} here: another run with the same "
                        "results, or a job that outlived its run; wait for it, or end it"
                    )
                time.sleep(0.05)
            if each != folder:
                discard(each)
        yield folder
    finally:
        for handle in handles:
            os.close(handle)


def discard(folder: Path) -> None:
    """Remove a folder so that a kill leaves no half of it under its name: rename, then remove."""
    gone = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
    with suppress(FileNotFoundError):  # another process was faster
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_leftovers(folders: Iterable[str | os.PathLike]) -> list[Path]:
    """Remove what killed processes left anywhere below ``folders``; returns what was removed.

    That is: files of atomic writers and lock files that no living process holds, half-removed folders,
    and state folders whose product is there.  Files in use are told by their locks, so other runs may go
    on meanwhile; where a file system has no locks, files stay.
    """
    removed = []
    for top in folders:
        for folder, folders_below, names in os.walk(os.fspath(top)):
            for name in list(folders_below):
                path = Path(folder, name)
                product = name.removeprefix(STATE).rsplit("-", 1)[0]
                finished = name.startswith(STATE) and Path(folder, product).is_file()
                if name.startswith(TEMPORARY) or finished:
                    discard(path)
                    folders_below.remove(name)
                    removed.append(path)
            for name in names:
                guard = name.startswith(".") and name.endswith(".guard")
                if (name.startswith(TEMPORARY) or guard) and _unlink_unused(Path(folder, name)):
                    removed.append(Path(folder, name))
    return removed


def _unlink_unused(path: Path) -> bool:
    """Remove a file unless a living process holds its lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        if not (_lock(handle) and _is_named(handle, path)):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)


def sha256_file(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
