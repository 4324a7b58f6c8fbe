"""Official EDM snapshot pickles: class name, constructor arguments and weights, nothing executed.

A snapshot is a pickled dict whose key ``ema`` holds the network.  Only the names in
``records.stand_ins`` may occur in it; see ``opcodes`` for how they are kept inert.
"""

import hashlib
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from art_rl.denoisers.snapshots.opcodes import checked, describe, load, refuse
from art_rl.denoisers.snapshots.records import Module, stand_ins
from art_rl.denoisers.snapshots.storages import TensorView
from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, fault_of_file, sha256_file, write_json

FORMAT = "art_rl.network"
FORMAT_VERSION = 1
MAX_MODULE_DEPTH = 32
MAX_TENSORS = 20_000
MAX_MEMBERS = 200_000  # entries of all modules, empty ones included; modules may share them
MAX_TENSOR_NAME = 300  # characters with all prefixes; official names stay below 50
MAX_KWARG_VALUES = 1_000
MAX_KWARG_CHARACTERS = 10_000
MAX_KWARG_DEPTH = 8
LIMITS = ("sigma_min", "sigma_max", "sigma_data")


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot says about its network.

    Attributes:
        class_name: e.g. "EDMPrecond".
        kwargs: constructor arguments as the file holds them (JSON-like; defaults may be absent).
        state_dict: name -> tensor, in the official order, float32 (EDM) or float16 (EDM2).
        limits: sigma_min, sigma_max, sigma_data as far as the file holds them; sigma_max may be inf.
        sha256: of the file.
    """

    class_name: str
    kwargs: dict[str, Any]
    state_dict: dict[str, Tensor]
    limits: dict[str, float]
    sha256: str


def read_snapshot(path: str | os.PathLike, expected_sha256: str | None = None) -> Snapshot:
    """Read an official snapshot pickle without executing anything it holds.

    Raises:
        ArtRLError: no such file, a wrong digest (checked before anything is parsed), or content that
            is not exactly what a snapshot needs; the message names the offending item.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ArtRLError(f"{path}: refused, the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                foreign = fault_of_file(path, pickles=True)
                if foreign is not None:
                    raise ArtRLError(f"{path}: {foreign}")
                sha256 = hashlib.sha256(content).hexdigest()
                if expected_sha256 is not None and sha256 != expected_sha256.lower():
                    raise ArtRLError(
                        f"{path}: wrong file, its SHA-256 is {sha256}, expected {expected_sha256}; "
                        "delete it and download it again"
                    )
                return checked(path, lambda: _read(content, sha256))
    except FileNotFoundError:
        raise ArtRLError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ArtRLError(f"{path}: a folder, expected a snapshot file") from None


def convert_snapshot(
    source: str | os.PathLike,
    out_safetensors: str | os.PathLike,
    out_json: str | os.PathLike,
    expected_sha256: str | None = None,
) -> Snapshot:
    """Read a snapshot and write its weights as safetensors and its description as JSON.

    The JSON holds the class, the constructor arguments, the sigma limits, the digest of the source
    file and the digest of the weights file; it gets its name last, so that a JSON file means both are
    whole.  Infinity is written as the string "inf".  Whatever fails, no new file stays alone.

    Raises:
        ArtRLError: as read_snapshot; nothing is written then.
    """
    snapshot = read_snapshot(source, expected_sha256)
    renamed = False
    try:
        # Both are complete under temporary names before the first is renamed.
        with atomic_path(out_json) as description:
            with atomic_path(out_safetensors) as weights:
                # Not save_file: it writes under a name of its own first, which a kill would leave for ever.
                weights.write_bytes(save(snapshot.state_dict))
                write_json(description, _description(snapshot, source, sha256_file(weights)))
            renamed = True
    except BaseException:
        if renamed:
            Path(out_safetensors).unlink(missing_ok=True)
        raise
    return snapshot


def _description(
    snapshot: Snapshot, source: str | os.PathLike, weights_sha256: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "class": snapshot.class_name,
        "kwargs": _json_numbers(snapshot.kwargs),
        "limits": _json_numbers(snapshot.limits),
        "source": {"name": Path(source).name, "sha256": snapshot.sha256},
        "weights_sha256": weights_sha256,
    }


def _read(content: mmap.mmap, sha256: str) -> Snapshot:
    top = load(content, stand_ins(len(content)))
    if content.tell() != len(content):
        refuse(f"{len(content) - content.tell()} bytes follow the end of the pickle")
    if not isinstance(top, dict):
        refuse(f"the pickle holds {describe(top)}, not the dict of a snapshot")
    if "ema" not in top:
        refuse("the snapshot has no key 'ema' (the network)")
    network = top["ema"]
    if not isinstance(network, Module) or network.class_name == "ModuleDict":
        refuse(f"'ema' is {describe(network)}, not a network")
    state = network.state
    if state is None:
        refuse(f"{network.class_name} has no state")
    if state.get("_init_args", ()) != ():
        refuse(f"{network.class_name} was constructed with positional arguments")
    kwargs = state.get("_init_kwargs")
    if not isinstance(kwargs, dict):
        refuse(f"{network.class_name} has no _init_kwargs (constructor arguments)")
    kwargs = _plain(kwargs, "_init_kwargs", _Budget(), MAX_KWARG_DEPTH)
    limits = {name: _limit(name, state[name]) for name in LIMITS if name in state}
    views = _walk(network)
    # Tensors that share storages could add up to far more than the file: it cannot be legitimate.
    total = sum(view.nbytes for view in views.values())
    if total > len(content):
        refuse(f"its tensors add up to {total} bytes, more than the file's {len(content)}")
    tensors = {name: view.materialise() for name, view in views.items()}
    return Snapshot(network.class_name, kwargs, tensors, limits, sha256)


def _walk(root: Module) -> dict[str, TensorView]:
    """All parameters and persistent buffers: per module parameters, buffers, then submodules."""
    views: dict[str, TensorView] = {}
    seen: set[int] = set()
    visited = 0

    def visit(module: Module, prefix: str, depth: int) -> None:
        nonlocal visited
        if depth > MAX_MODULE_DEPTH:
            refuse(f"modules are nested more than {MAX_MODULE_DEPTH} deep")
        if id(module) in seen:
            refuse(f"the module {prefix[:-1] or 'ema'} occurs twice")
        seen.add(id(module))
        state = module.state
        if state is None:
            refuse(f"the module {prefix[:-1]} has no content")
        transient = state.get("_non_persistent_buffers_set", set())
        if not isinstance(transient, set):
            refuse(f"_non_persistent_buffers_set of {prefix[:-1]} is {describe(transient)}")
        for group in ("_parameters", "_buffers", "_modules"):
            members = state.get(group)
            if not isinstance(members, dict):
                refuse(f"{group} of {prefix[:-1] or 'ema'} is {describe(members)}, not a dict")
            visited += len(members)
            if visited > MAX_MEMBERS:
                refuse(f"the modules have more than {MAX_MEMBERS} entries")
            for name, value in members.items():
                if value is None or (group == "_buffers" and name in transient):
                    continue
                if not _is_member_name(name) or len(prefix) + len(name) > MAX_TENSOR_NAME:
                    refuse(f"a member of {prefix[:-1] or 'ema'} is named {describe(name)}")
                if group == "_modules":
                    if not isinstance(value, Module):
                        refuse(f"the module {prefix}{name} is {describe(value)}")
                    visit(value, f"{prefix}{name}.", depth + 1)
                    continue
                if not isinstance(value, TensorView):
                    refuse(f"the tensor {prefix}{name} is {describe(value)}")
                if f"{prefix}{name}" in views:
                    refuse(f"the tensor {prefix}{name} occurs twice")
                if len(views) >= MAX_TENSORS:
                    refuse(f"the network has more than {MAX_TENSORS} tensors")
                views[f"{prefix}{name}"] = value

    visit(root, "", 0)
    if not views:
        refuse("the network has no tensors")
    return views


def _is_member_name(name: Any) -> bool:
    if not isinstance(name, str) or name == "__metadata__":  # safetensors' name for something else
        return False
    return 0 < len(name) <= 200 and name.isprintable() and "." not in name


def _limit(name: str, value: Any) -> float:
    """A sigma limit as a float; larger integers would not all fit one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"{name} is {describe(value)}, not a number")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        refuse(f"{name} is {describe(value)}, not a number below 2^63")
    if math.isnan(value):
        refuse(f"{name} is NaN")
    return float(value)


@dataclass
class _Budget:
    """What may still be written; what the file shares counts as often as it is written."""

    values: int = MAX_KWARG_VALUES
    characters: int = MAX_KWARG_CHARACTERS


def _plain(value: Any, where: str, left: _Budget, depth: int) -> Any:
    """``value`` as JSON-like data; ``left`` counts down the values and characters still allowed."""
    left.values -= 1
    if isinstance(value, str):
        left.characters -= len(value)
    if min(left.values, left.characters, depth) < 0:
        refuse(f"{where} is too large or too deeply nested")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    if isinstance(value, float) and not math.isnan(value):
        return value
    if type(value) in (list, tuple):
        return [_plain(item, where, left, depth - 1) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            refuse(f"{where} has a key that is not a text")
        left.characters -= sum(map(len, value))
        return {key: _plain(item, where, left, depth - 1) for key, item in value.items()}
    refuse(f"{where} holds {describe(value)}")


def _json_numbers(value: Any) -> Any:
    """Infinities as the strings "inf" and "-inf", which JSON can hold."""
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, list):
        return [_json_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_numbers(item) for key, item in value.items()}
    return value
