"""Tensor storages and tensors of a snapshot, every bound checked, decoded by numpy.

A storage is the legacy ``torch.save`` stream: five protocol-2 pickles (magic number, protocol number,
system information, the storage as one persistent id, the list of its key), the element count as a
little-endian int64, the elements.  ``torch.load`` is never called.
"""

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.snapshots.opcodes import StandIn, describe, load, refuse

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_DIMENSIONS = 8
MAX_OPCODES = 200  # per pickle of a storage stream; torch writes about 30
# All the storage types that released EDM (Float) and EDM2 (Half) snapshots hold.
STORAGE_DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2"}
_STAND_INS = {("torch", name): StandIn(f"torch.{name}") for name in STORAGE_DTYPES}
_DTYPES = {f"torch.{name}": np.dtype(code) for name, code in STORAGE_DTYPES.items()}


@dataclass(frozen=True)
class Storage:
    """A flat, read-only array over the bytes of the file."""

    elements: np.ndarray


@dataclass(frozen=True)
class _Description:
    dtype: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """A strided view of a storage, bounds checked; ``materialise`` copies it out."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        return math.prod(self.size) * self.storage.elements.itemsize

    def materialise(self) -> Tensor:
        """A contiguous tensor of shape ``size`` that owns its memory."""
        elements = self.storage.elements
        strides = tuple(stride * elements.itemsize for stride in self.stride)
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.size, strides, writeable=False
        )
        return torch.from_numpy(np.array(view, order="C", copy=True))


def storage_reader(file_size: int) -> Callable[[tuple], Storage]:
    """Stand-in of ``torch.storage._load_from_bytes`` for one file of ``file_size`` bytes.

    A byte string that the memo hands out again and again would be parsed as often, so the calls
    together may read no more than the file holds.
    """
    left = file_size

    def read(arguments: tuple) -> Storage:
        nonlocal left
        if len(arguments) != 1 or not isinstance(arguments[0], bytes):
            refuse("torch.storage._load_from_bytes is given something else than one byte string")
        left -= len(arguments[0])
        if left < 0:
            refuse(f"its storages add up to more bytes than the file's {file_size}")
        return _parse_storage(arguments[0])

    return read


def _parse_storage(data: bytes) -> Storage:
    """The storage in a five-part stream; see the module's docstring."""
    stream = io.BytesIO(data)
    # `!=` with a container of the file on the left compares at most one level: these are integers.
    if (magic := _load(stream)) != MAGIC:
        refuse(f"a storage does not start with torch's magic number, got {describe(magic)}")
    if (protocol := _load(stream)) != PROTOCOL:
        refuse(f"a storage has protocol {describe(protocol)}, readable is {PROTOCOL}")
    system = _load(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        refuse("a storage is not marked little-endian")
    description = _load(stream, _describe_storage)
    if not isinstance(description, _Description):
        refuse(f"a storage is {describe(description)}, not a persistent id")
    dtype, count = description.dtype, description.count
    if _load(stream) != [description.key]:
        refuse(f"a storage lists other keys than its own key {description.key!r:.40}")
    header = stream.read(8)
    if len(header) != 8:
        refuse("a storage is truncated before its element count")
    (stored,) = struct.unpack("<q", header)
    if stored != count:
        refuse(f"a storage declares {count} elements and stores {stored}")
    position = stream.tell()
    available = len(data) - position
    if available != count * dtype.itemsize:
        refuse(
            f"a storage of {count} {dtype.name} elements needs {count * dtype.itemsize} bytes, "
            f"but {available} follow"
        )
    return Storage(np.frombuffer(data, dtype=dtype, count=count, offset=position))


def _load(stream: io.BytesIO, persistent: Callable[[Any], Any] | None = None) -> Any:
    return load(stream, _STAND_INS, persistent, max_opcodes=MAX_OPCODES)


def _describe_storage(identity: Any) -> _Description:
    """Check the persistent id ('storage', type, key, location, element count, None)."""
    if type(identity) is not tuple or len(identity) != 6 or identity[0] != "storage":
        refuse(f"a storage is described by {describe(identity)}, not by torch's six-part tuple")
    _, kind, key, location, count, view = identity
    if not isinstance(kind, StandIn) or kind.name not in _DTYPES:
        refuse(f"a storage has the unknown type {describe(kind)}")
    if not isinstance(key, str) or not isinstance(location, str) or view is not None:
        refuse("a storage has a malformed description")
    if not _is_count(count) or count < 1:
        refuse(f"a storage claims {describe(count)} elements")
    return _Description(_DTYPES[kind.name], key, count)


def rebuild_tensor(arguments: tuple) -> TensorView:
    """Stand-in of ``torch._utils._rebuild_tensor_v2``.

    Rules: offset >= 0, sizes >= 1, strides >= 0, offset + sum((size - 1) * stride) < element count,
    and not more elements than the storage holds (a stride of 0 cannot blow a tensor up).
    """
    if len(arguments) not in (6, 7):
        refuse(f"torch._utils._rebuild_tensor_v2 is given {len(arguments)} arguments, not 6 or 7")
    storage, offset, size, stride = arguments[:4]
    if not isinstance(storage, Storage):
        refuse(f"a tensor's storage is {describe(storage)}")
    for name, values in (("size", size), ("stride", stride)):
        if type(values) is not tuple or not all(map(_is_count, values)):
            refuse(f"a tensor's {name} is not a tuple of integers in [0, 2^63)")
    if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
        refuse(
            f"a tensor has {len(size)} sizes and {len(stride)} strides (at most {MAX_DIMENSIONS})"
        )
    if not _is_count(offset):
        refuse(f"a tensor's offset is {describe(offset)}, not an integer in [0, 2^63)")
    if 0 in size:
        refuse(f"a tensor of size {size} is empty")
    count = len(storage.elements)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= count or math.prod(size) > count:
        refuse(
            f"a tensor of size {size}, stride {stride} and offset {offset} reaches outside its "
            f"storage of {count} elements"
        )
    return TensorView(storage, offset, size, stride)


def rebuild_parameter(arguments: tuple) -> TensorView:
    """Stand-in of ``torch._utils._rebuild_parameter``: the tensor itself."""
    if len(arguments) != 3 or not isinstance(arguments[0], TensorView):
        refuse(
            "torch._utils._rebuild_parameter is given something else than a tensor and two values"
        )
    return arguments[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
