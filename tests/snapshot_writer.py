"""Writes snapshot pickles in the official EDM layout, opcode by opcode, without the official code.

``write_snapshot`` makes an honest file of any network; ``Pickle`` emits single opcodes, so that tests
can also make files no honest pickler would write.  Neither needs the classes a file names to exist.
"""

import math
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C
BUFFERS = {"resample_filter", "freqs", "u"}


@dataclass(frozen=True)
class Global:
    """A class or function by name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """``function(*arguments)`` when unpickled (REDUCE), then BUILD with ``state`` unless None."""

    function: Any
    arguments: Any
    state: Any = None


@dataclass(frozen=True)
class New:
    """``cls.__new__(cls, *arguments)`` when unpickled (NEWOBJ), then BUILD with ``state``."""

    cls: Any
    arguments: Any = ()
    state: Any = None


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    identity: Any


@dataclass(frozen=True)
class Remember:
    """A value that ``Recall(label)`` refers to afterwards, through the memo."""

    label: str
    value: Any


@dataclass(frozen=True)
class Recall:
    """A second reference to a remembered value."""

    label: str


@dataclass(frozen=True)
class Raw:
    """Bytes put into the stream as they are."""

    data: bytes


class Pickle:
    """Emits one pickle.  Strings and globals are memoised as an ordinary pickler would."""

    def __init__(self, protocol: int = 4) -> None:
        self.protocol = protocol
        self.out = bytearray(pickle.PROTO + bytes([protocol]))
        self.memo: dict[Any, int] = {}

    def dump(self, value: Any) -> bytes:
        self.save(value)
        return bytes(self.out + pickle.STOP)

    def _remember(self, key: Any) -> None:
        index = self.memo[key] = len(self.memo)
        if self.protocol >= 4:
            self.out += pickle.MEMOIZE
        else:
            self.out += pickle.LONG_BINPUT + struct.pack("<I", index)

    def _recall(self, key: Any) -> bool:
        if key not in self.memo:
            return False
        index = self.memo[key]
        short = index < 256
        self.out += pickle.BINGET + bytes([index]) if short else b""
        self.out += b"" if short else pickle.LONG_BINGET + struct.pack("<I", index)
        return True

    def save(self, value: Any) -> None:
        out = self.out
        if value is None:
            out += pickle.NONE
        elif isinstance(value, bool):
            out += pickle.NEWTRUE if value else pickle.NEWFALSE
        elif isinstance(value, int):
            self._save_int(value)
        elif isinstance(value, float):
            out += pickle.BINFLOAT + struct.pack(">d", value)
        elif isinstance(value, str):
            if not self._recall(("text", value)):
                data = value.encode()
                out += pickle.BINUNICODE + struct.pack("<I", len(data)) + data
                self._remember(("text", value))
        elif isinstance(value, bytes):
            out += pickle.BINBYTES + struct.pack("<I", len(value)) + value
        elif isinstance(value, tuple):
            out += pickle.MARK
            for item in value:
                self.save(item)
            out += pickle.TUPLE
        elif isinstance(value, list):
            out += pickle.EMPTY_LIST + pickle.MARK
            for item in value:
                self.save(item)
            out += pickle.APPENDS
        elif isinstance(value, set):
            out += pickle.EMPTY_SET + pickle.MARK
            for item in sorted(value):
                self.save(item)
            out += pickle.ADDITEMS
        elif isinstance(value, Mapping):
            out += pickle.EMPTY_DICT + pickle.MARK
            for key, item in value.items():
                self.save(key)
                self.save(item)
            out += pickle.SETITEMS
        elif isinstance(value, Global):
            self._save_global(value)
        elif isinstance(value, Call | New):
            self.save(value.function if isinstance(value, Call) else value.cls)
            self.save(value.arguments)
            out += pickle.REDUCE if isinstance(value, Call) else pickle.NEWOBJ
            if value.state is not None:
                self.save(value.state)
                out += pickle.BUILD
        elif isinstance(value, Persistent):
            self.save(value.identity)
            out += pickle.BINPERSID
        elif isinstance(value, Remember):
            self.save(value.value)
            self._remember(value.label)
        elif isinstance(value, Recall):
            self._recall(value.label)
        elif isinstance(value, Raw):
            out += value.data
        else:
            raise TypeError(f"cannot write {type(value)}")

    def _save_int(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += pickle.BININT1 + bytes([value])
        elif -(1 << 31) <= value < 1 << 31:
            self.out += pickle.BININT + struct.pack("<i", value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += pickle.LONG1 + bytes([len(data)]) + data

    def _save_global(self, value: Global) -> None:
        if self._recall(value):
            return
        if self.protocol >= 4:
            self.save(value.module)
            self.save(value.name)
            self.out += pickle.STACK_GLOBAL
        else:
            self.out += pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
        self._remember(value)


def storage_stream(
    elements: np.ndarray,
    *,
    kind: Any = None,
    count: int | None = None,
    stored: int | None = None,
    magic: int = MAGIC,
    protocol: int = 1001,
    little_endian: bool = True,
    identity: Any = None,
    keys: Any = None,
) -> bytes:
    """The legacy ``torch.save`` stream of a flat array; the options falsify single parts of it."""
    if kind is None:
        kind = Global("torch", {2: "HalfStorage", 4: "FloatStorage"}[elements.itemsize])
    count = len(elements) if count is None else count
    system = {
        "protocol_version": 1001,
        "little_endian": little_endian,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    if identity is None:
        identity = Persistent(("storage", kind, "94", "cpu", count, None))
    parts = [magic, protocol, system, identity, ["94"] if keys is None else keys]
    head = b"".join(Pickle(2).dump(part) for part in parts)
    body = elements.astype(elements.dtype.newbyteorder("<")).tobytes()
    return head + struct.pack("<q", len(elements) if stored is None else stored) + body


def tensor(
    array: np.ndarray,
    *,
    storage: bytes | None = None,
    offset: Any = 0,
    size: Any = None,
    stride: Any = None,
) -> Call:
    """A tensor as ``_rebuild_tensor_v2`` of its own storage; the options falsify parts of it."""
    array = np.asarray(array, order="C")
    if storage is None:
        storage = storage_stream(array.reshape(-1))
    if stride is None:
        stride = tuple(step // array.itemsize for step in array.strides)
    size = tuple(array.shape) if size is None else size
    loaded = Call(Global("torch.storage", "_load_from_bytes"), (storage,))
    empty = Call(Global("collections", "OrderedDict"), ())
    arguments = (loaded, offset, size, stride, False, empty)
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def parameter(data: Call) -> Call:
    """A parameter of a tensor."""
    empty = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_parameter"), (data, False, empty))


def numpy_scalar(value: float, core: str = "numpy._core") -> Call:
    """A numpy float64 scalar; ``core`` is "numpy.core" for files written by numpy < 2."""
    state = (3, "<", None, None, None, -1, -1, 0)
    dtype = Call(Global("numpy", "dtype"), ("f8", False, True), state)
    return Call(Global(f"{core}.multiarray", "scalar"), (dtype, struct.pack("<d", value)))


def persistent(class_name: str, state: Any, **changes: Any) -> Call:
    """An object of a class of the official code; ``changes`` falsify its five-key record."""
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise RuntimeError('the embedded source was executed')\n",
        "class_name": class_name,
        "state": state,
    }
    meta.update(changes)
    function = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    return Call(function, (meta,))


def module_state(parameters: Mapping, buffers: Mapping, modules: Mapping) -> dict[str, Any]:
    """The ``__dict__`` of a module, with the hook containers PyTorch adds."""
    return {
        "training": False,
        "_parameters": dict(parameters),
        "_buffers": dict(buffers),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": Call(Global("collections", "OrderedDict"), ()),
        "_forward_hooks": Call(Global("collections", "OrderedDict"), ()),
        "_modules": dict(modules),
    }


def network(
    class_name: str,
    kwargs: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    *,
    attributes: Mapping[str, Any] | None = None,
    numpy_core: str = "numpy._core",
) -> Call:
    """The object stored under ``ema``; see write_snapshot."""
    tree: dict[str, Any] = {}
    for name, value in state_dict.items():
        node = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value

    def build(node: dict[str, Any], name: str, depth: int) -> Call | New:
        parameters, buffers, modules = {}, {}, {}
        for key, value in node.items():
            if isinstance(value, dict):
                modules[key] = build(value, key, depth + 1)
            elif key in BUFFERS:
                buffers[key] = tensor(value.numpy())
            else:
                parameters[key] = parameter(tensor(value.numpy()))
        if modules:
            parameters["bias"] = parameters.get("bias")  # official modules hold such empty entries
        state = module_state(parameters, buffers, modules)
        if depth == 0:
            limits = {"sigma_min": 0.0, "sigma_max": math.inf, "sigma_data": 0.5}
            state |= limits if attributes is None else attributes
            state |= {"_init_args": (), "_init_kwargs": dict(kwargs)}
            return persistent(class_name, state)
        if depth == 2 and name in ("enc", "dec"):
            return New(Global("torch.nn.modules.container", "ModuleDict"), (), state)
        if depth == 1:
            kind = str(kwargs.get("model_type", "SongUNet"))
        elif modules:
            kind = "UNetBlock"
            state["skip_scale"] = numpy_scalar(math.sqrt(0.5), numpy_core)
        else:
            kind = "GroupNorm" if "norm" in name else "Linear" if "map" in name else "Conv2d"
        return persistent(kind, state | {"_init_args": (), "_init_kwargs": {}})

    return build(tree, "", 0)


def write_snapshot(
    path: str | Path,
    class_name: str,
    kwargs: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    *,
    attributes: Mapping[str, Any] | None = None,
    numpy_core: str = "numpy._core",
    dataset_kwargs: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network as an official-layout EDM snapshot.

    Args:
        path: file to write.
        class_name: preconditioning class, e.g. "EDMPrecond".
        kwargs: its constructor arguments (plain values).
        state_dict: name -> float32 or float16 CPU tensor, official names.
        attributes: plain attributes of the network; by default EDMPrecond's sigma limits.
        numpy_core: "numpy._core" as numpy >= 2 writes, "numpy.core" as numpy < 2.
        dataset_kwargs: stored under that key.

    Returns:
        ``path``.
    """
    ema = network(class_name, kwargs, state_dict, attributes=attributes, numpy_core=numpy_core)
    snapshot = {
        "ema": ema,
        "loss_fn": persistent("EDMLoss", {"P_mean": -1.2, "P_std": 1.2, "sigma_data": 0.5}),
        "augment_pipe": None,
        "dataset_kwargs": dict(dataset_kwargs or {"path": "data.zip", "use_labels": False}),
    }
    path = Path(path)
    path.write_bytes(Pickle().dump(snapshot))
    return path
