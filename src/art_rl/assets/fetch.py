"""Files from the internet: what they are, where they come from, and fetching them intact.

`catalogue.json` lists every asset with its addresses, SHA-256, size, licence and citation.  A fetch
tries the mirror first (a directory or a base URL), then each address; a file gets its final name
only after its digest matched.  A ``.gz`` file is also accepted by the digest of what it decompresses
to, because mirrors recompress.

Not every publisher states a digest.  Those assets are trusted on first use: the digest seen first is
written to a lock file, and every later fetch must agree with it.  That protects against change, not
against a first download that was already wrong; the fetch says so in a warning.

The transfer itself is in download.py.
"""

import glob
import gzip
import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from art_rl.assets.download import Interrupted, Unusable, download
from art_rl.checks import check_known
from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, exclusive, read_json, sha256_file, write_json

MIRROR_VARIABLE = "ART_RL_MIRROR"
LOCK_NAME = "assets.lock.json"
# Per address after a broken transfer or a server error, and the seconds before the first, doubled each time.
FURTHER_ATTEMPTS, PAUSE = 4, 1.0
TIMEOUT = 30.0  # seconds without an answer or a byte after which a transfer counts as broken


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        name: key in the catalogue.
        group: folder of the file in a mirror.
        file: file name at every address and in a mirror.
        urls: full addresses, tried in order.
        sha256: hexadecimal digest of the file, or None if no publisher states it.
        sha256_content: for ``.gz``, digest of the decompressed content, or None.
        size: bytes of the file, or None.
        licence, citation: as the publisher states them.
    """

    name: str
    group: str
    file: str
    urls: tuple[str, ...]
    sha256: str | None = None
    sha256_content: str | None = None
    size: int | None = None
    licence: str = ""
    citation: str = ""


@cache
def catalogue() -> dict[str, Asset]:
    """All known assets by name."""
    raw = json.loads(package_files("art_rl").joinpath("assets/catalogue.json").read_text("utf-8"))
    assets = {}
    for name, entry in raw["assets"].items():
        group = raw["groups"][entry["group"]]
        assets[name] = Asset(
            name=name,
            urls=tuple(base + entry["file"] for base in group["base_urls"]),
            licence=group["licence"],
            citation=group["citation"],
            **entry,
        )
    return assets


def find_asset(name: str) -> Asset:
    """The catalogue's entry; ArtRLError for an unknown name."""
    return catalogue()[check_known("asset", name, catalogue())]


def _content_digest(path: Path) -> str | None:
    """SHA-256 of what a gzip file holds, None if it is not an intact gzip file."""
    try:
        with gzip.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return None


def _mismatch(asset: Asset, path: Path, locked: str | None) -> str | None:
    """None if the file is the asset (as far as is known), else a phrase naming both digests."""
    expected = asset.sha256 or locked
    if expected is None and asset.sha256_content is None:
        return None
    actual = sha256_file(path)
    if actual == expected:
        return None
    if asset.sha256_content is None:
        return f"SHA-256 is {actual}, expected {expected}"
    content = _content_digest(path)
    if content == asset.sha256_content:
        return None
    found = "the file is not an intact gzip file" if content is None else f"content {content}"
    return f"SHA-256 is {actual} ({found}), expected {expected} (content {asset.sha256_content})"


def _locked_digest(asset: Asset, lock: Path) -> str | None:
    """Digest recorded at first use, for assets without a published one."""
    if asset.sha256 or asset.sha256_content or not lock.exists():
        return None
    entry = _entries(lock).get(asset.name)
    return None if entry is None else entry["sha256"]


def _entries(lock: Path) -> dict[str, dict]:
    """Name -> {"sha256", ...} of the digests trusted on first use."""
    entries = read_json(lock)
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
        for entry in entries.values()
    ):
        raise ArtRLError(
            f"{lock}: must hold an object with 'sha256' per asset; delete it to trust the files anew"
        )
    return entries


def _record(asset: Asset, path: Path, source: str, lock: Path) -> None:
    """Write the first-seen digest of an asset without a published one."""
    if asset.sha256 or asset.sha256_content:
        return
    with exclusive(lock):
        entries = _entries(lock) if lock.exists() else {}
        if asset.name in entries:
            return
        value = sha256_file(path)
        entries[asset.name] = {"sha256": value, "size": path.stat().st_size, "source": source}
        write_json(lock, dict(sorted(entries.items())))
    warnings.warn(
        f"asset {asset.name}: no published digest; trusted on first use from {source}, "
        f"SHA-256 {value} written to {lock}",
        stacklevel=3,
    )


def _from_url(
    asset: Asset, url: str, destination: Path, locked: str | None, progress: bool
) -> None:
    """Put the asset at ``destination`` from one address, or raise Unusable saying why not."""
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]  # one partial file per address
    part = destination.with_name(f".{destination.name}.{tag}.part")
    state = part.with_name(part.name + ".json")
    trouble = ""
    for attempt in range(FURTHER_ATTEMPTS + 1):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        resumed = part.exists() and part.stat().st_size > 0
        try:
            download(url, part, progress, TIMEOUT)
            fault = _mismatch(asset, part, locked)
            if fault is None:
                part.replace(destination)
                state.unlink(missing_ok=True)
                return
            part.unlink()
            if not resumed:
                raise Unusable(fault)
            trouble = fault  # the old part may be to blame: once more from the start
        except Interrupted as error:
            trouble = str(error)
        except Unusable:
            part.unlink(missing_ok=True)
            state.unlink(missing_ok=True)
            raise
    if part.exists() and part.stat().st_size == 0:
        part.unlink()
    raise Unusable(f"gave up after {FURTHER_ATTEMPTS + 1} attempts, last: {trouble}")


def _from_file(asset: Asset, source: Path, destination: Path, locked: str | None) -> None:
    """Copy from a mirror directory, or raise Unusable."""
    if not source.is_file():
        raise Unusable("no such file")
    try:
        with atomic_path(destination) as temporary:
            shutil.copyfile(source, temporary)
            fault = _mismatch(asset, temporary, locked)
            if fault is not None:
                raise Unusable(fault)
    except OSError as error:
        raise Unusable(str(error)) from None


def _sources(asset: Asset, mirror: str | os.PathLike | None) -> list[str | Path]:
    """Where to look, in order: mirror/group/file, mirror/file, then the catalogue's addresses."""
    mirror = os.fspath(mirror) if mirror else os.environ.get(MIRROR_VARIABLE, "")
    sources: list[str | Path] = []
    for relative in (f"{asset.group}/{asset.file}", asset.file):
        if mirror.startswith(("http://", "https://")):
            sources.append(f"{mirror.rstrip('/')}/{relative}")
        elif mirror:
            sources.append(Path(mirror.removeprefix("file://")) / relative)
    return sources + list(asset.urls)


def _keep(asset: Asset, destination: Path, locked: str | None, lock: Path) -> Path:
    """The file that is already there, if it is the right one."""
    fault = _mismatch(asset, destination, locked)
    if fault is not None:
        raise ArtRLError(
            f"{destination} is not asset {asset.name}: {fault}; delete it to fetch again"
        )
    _record(asset, destination, str(destination), lock)
    _remove_parts(destination)
    return destination


def _remove_parts(destination: Path) -> None:
    """Partial files of a destination that is complete: of other addresses, or of a kill."""
    for part in destination.parent.glob(f".{glob.escape(destination.name)}.*.part*"):
        part.unlink(missing_ok=True)


def fetch_asset(
    asset: Asset,
    destination: str | os.PathLike,
    mirror: str | os.PathLike | None = None,
    progress: bool = True,
    lock: str | os.PathLike | None = None,
) -> Path:
    """Make sure ``destination`` holds the asset, intact.

    A file already there is checked and kept.  Interrupted downloads leave a hidden ``.part`` file
    beside the destination and are continued by the next attempt or the next call.

    Args:
        asset: what to fetch; `find_asset` has those of the catalogue.
        destination: path of the file (not of a directory).
        mirror: directory or base URL tried first; default: environment variable ART_RL_MIRROR.
            Files are looked up as ``<group>/<file>``, then ``<file>``.
        lock: file with the digests trusted on first use; default: ``assets.lock.json`` beside the
            destination.

    Returns:
        ``destination``.

    Raises:
        ArtRLError: an existing destination has the wrong digest, or no source gave the right file;
            the message lists each source with its fault, digests found and expected.
    """
    destination = Path(destination)
    lock = destination.with_name(LOCK_NAME) if lock is None else Path(lock)
    locked = _locked_digest(asset, lock)
    if destination.is_dir():
        raise ArtRLError(f"destination must be a file path, but {destination} is a directory")
    if destination.exists():
        return _keep(asset, destination, locked, lock)
    faults = []
    with exclusive(destination):
        if destination.exists():  # another process fetched it while this one waited
            return _keep(asset, destination, locked, lock)
        for source in _sources(asset, mirror):
            try:
                if isinstance(source, Path):
                    _from_file(asset, source, destination, locked)
                else:
                    _from_url(asset, source, destination, locked, progress)
            except Unusable as error:
                faults.append(f"{source}: {error}")
                continue
            _record(asset, destination, str(source), lock)
            _remove_parts(destination)
            return destination
    raise ArtRLError(
        f"asset {asset.name}: no source gave the right file ({'; '.join(faults)}); put it at "
        f"{destination} by hand or name a mirror (argument or {MIRROR_VARIABLE})"
    )
