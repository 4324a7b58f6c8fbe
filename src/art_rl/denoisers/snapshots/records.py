"""What the globals of a snapshot become: the table of permitted names and the records they build.

Each module of the official code is stored as one call of
``torch_utils.persistence._reconstruct_persistent_obj`` with a dict of five keys: type, version,
module_src (the source text of the class, which the official loader executes and this one drops unread),
class_name, state.
"""

import struct
from collections.abc import Mapping
from typing import Any

from art_rl.denoisers.snapshots.opcodes import Buildable, StandIn, describe, refuse
from art_rl.denoisers.snapshots.storages import rebuild_parameter, rebuild_tensor, storage_reader

PERSISTENCE_VERSION = 6
MAX_CLASS_NAME = 200  # characters; looked at once per call, and calls are cheap to repeat


class Module(Buildable):
    """A module of the snapshot: its class name and its ``__dict__``."""

    def __init__(self, class_name: str, state: dict | None = None) -> None:
        self.class_name = class_name
        self.state = state

    def build(self, state: Any) -> None:
        """Take the module's ``__dict__``, once."""
        if self.state is not None or type(state) is not dict:
            refuse(f"it sets the attributes of a {self.class_name} by {describe(state)} (BUILD)")
        self.state = state


class NumberType(Buildable):
    """The numpy dtype '<f8' (or '<f4') of a stored number."""

    def __init__(self, code: str) -> None:
        self.code = code

    def build(self, state: Any) -> None:
        """Accept the state of a plain little-endian number only."""
        fixed = (3, "<", None, None, None, -1, -1, 0)
        if type(state) is not tuple or len(state) != len(fixed):
            refuse(f"the state of a numpy.dtype is {describe(state)}")
        for value, expected in zip(state, fixed, strict=True):
            if type(value) is not type(expected) or value != expected:
                refuse("a numpy.dtype is not a plain little-endian number")


class PlainDict(dict, Buildable):
    """EDM2's ``dnnlib.util.EasyDict``; older Pythons store an empty state for it."""

    def build(self, state: Any) -> None:
        """Accept no state, or an empty one."""
        if not (state is None or state == {}):
            refuse("it sets the attributes of a dnnlib.util.EasyDict (BUILD)")


class DroppedArray(Buildable):
    """A numpy array outside the network (EDM2's image encoder holds two); never decoded."""

    def build(self, state: Any) -> None:
        """Drop the state."""
        pass


def _reconstruct_module(arguments: tuple) -> Module:
    meta = arguments[0] if len(arguments) == 1 else None
    keys = {"type", "version", "module_src", "class_name", "state"}
    if type(meta) is not dict or set(meta) != keys:
        refuse(f"a persistent object does not hold exactly the keys {', '.join(sorted(keys))}")
    if meta["type"] != "class":
        refuse(f"a persistent object has the type {describe(meta['type'])}, known is 'class'")
    version = meta["version"]
    if type(version) is not int or version != PERSISTENCE_VERSION:
        refuse(f"persistence version is {describe(version)}, readable is {PERSISTENCE_VERSION}")
    class_name, state = meta["class_name"], meta["state"]
    if (
        not isinstance(class_name, str)
        or len(class_name) > MAX_CLASS_NAME
        or not class_name.isidentifier()
    ):
        refuse(
            f"a class name is {describe(class_name)}, not an identifier of at most "
            f"{MAX_CLASS_NAME} characters"
        )
    if not isinstance(meta["module_src"], str):
        refuse(f"module_src of {class_name} is {describe(meta['module_src'])}, not a text")
    if type(state) is not dict:
        refuse(f"the state of {class_name} is {describe(state)}, not a dict")
    return Module(class_name, state)


def _numpy_dtype(arguments: tuple) -> NumberType:
    if len(arguments) != 3 or arguments[0] not in ("f8", "f4"):
        refuse("a numpy.dtype other than f8 or f4 is stored")
    return NumberType(arguments[0])


def _numpy_scalar(arguments: tuple) -> float:
    if (
        len(arguments) != 2
        or not isinstance(arguments[0], NumberType)
        or arguments[0].code != "f8"
        or not isinstance(arguments[1], bytes)
        or len(arguments[1]) != 8
    ):
        refuse("a numpy scalar is not a float64 of 8 bytes")
    return struct.unpack("<d", arguments[1])[0]


def _no_arguments(name: str, make: Any) -> Any:
    def create(arguments: tuple) -> Any:
        if arguments:
            refuse(f"{name} is given {len(arguments)} arguments, expected none")
        return make()

    return create


def _fixed() -> dict[tuple[str, str], StandIn]:
    table = {}

    def permit(module: str, name: str, call: Any = None, create: Any = None) -> None:
        table[module, name] = StandIn(f"{module}.{name}", call, create)

    permit("collections", "OrderedDict", call=_no_arguments("collections.OrderedDict", dict))
    permit("torch_utils.persistence", "_reconstruct_persistent_obj", call=_reconstruct_module)
    permit(
        "torch.nn.modules.container",
        "ModuleDict",
        create=_no_arguments("ModuleDict", lambda: Module("ModuleDict")),
    )
    permit("torch._utils", "_rebuild_parameter", call=rebuild_parameter)
    permit("torch._utils", "_rebuild_tensor_v2", call=rebuild_tensor)
    permit("numpy", "dtype", call=_numpy_dtype)
    permit("numpy", "ndarray")
    permit("dnnlib.util", "EasyDict", create=_no_arguments("EasyDict", PlainDict))
    for core in ("numpy._core", "numpy.core"):  # numpy >= 2, numpy < 2
        permit(f"{core}.multiarray", "scalar", call=_numpy_scalar)
        permit(f"{core}.multiarray", "_reconstruct", call=lambda arguments: DroppedArray())
    return table


_FIXED = _fixed()


def stand_ins(file_size: int) -> Mapping[tuple[str, str], StandIn]:
    """The table of permitted names for reading one file of ``file_size`` bytes."""
    name = ("torch.storage", "_load_from_bytes")
    return _FIXED | {name: StandIn(".".join(name), storage_reader(file_size))}
