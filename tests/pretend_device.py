"""A second device without a GPU: CPU values behind the device "meta".

A tensor made on "meta" keeps its values; an operation that mixes it with a CPU tensor of at least one
dimension raises, as on CUDA.  What it cannot find: CUDA's generators, kernels and streams.
"""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"

# Copies between devices are what these are for; CPU indices of a CUDA tensor are allowed.
_MAY_MIX = {
    "aten::_to_copy",
    "aten::copy_",
    "aten::index",
    "aten::_unsafe_index",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::lift_fresh",
}


class OnDevice(torch.Tensor):
    """A tensor that says it is on DEVICE and keeps its values in ``value``."""

    @staticmethod
    def __new__(cls, value):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=DEVICE,
        )
        tensor.value = value
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def tolist(self):
        return self.value.tolist()


def off(tensor):
    """The values of ``tensor`` on the CPU."""
    return tensor.value if isinstance(tensor, OnDevice) else tensor


def on(tensor):
    """``tensor`` on DEVICE; anything else as it is."""
    plain = isinstance(tensor, torch.Tensor) and not isinstance(tensor, OnDevice)
    return OnDevice(tensor) if plain else tensor


def _check(name, args, kwargs):
    tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
    here = [part for part in tensors if isinstance(part, OnDevice)]
    there = [part for part in tensors if not isinstance(part, OnDevice) and part.dim() > 0]
    if here and there and name not in _MAY_MIX:
        shapes = [tuple(part.shape) for part in there]
        raise RuntimeError(f"{name}: tensors on the device and on the CPU, {shapes}")
    if (
        name in ("aten::index", "aten::_unsafe_index")
        and here
        and not isinstance(args[0], OnDevice)
    ):
        raise RuntimeError(f"{name}: a CPU tensor indexed by one on the device")
    if name in ("aten::index_put_", "aten::_index_put_impl_"):
        mixed = isinstance(args[0], OnDevice) != isinstance(args[2], OnDevice)
        if mixed and args[2].dim() > 0:
            raise RuntimeError(f"{name}: values of another device")
    return bool(here)


def _run(function, args, kwargs):
    name = function._schema.name
    any_here = _check(name, args, kwargs)
    device = kwargs.get("device")
    to_device = device is not None and torch.device(device).type == DEVICE
    if to_device:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = function(*tree_map(off, args), **tree_map(off, kwargs))
    if function._schema.is_mutable and name.endswith("_") and isinstance(args[0], torch.Tensor):
        return args[0]
    if name == "aten::_local_scalar_dense":
        return result
    return tree_map(on, result) if to_device or (any_here and device is None) else result


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _maker(original):
    def make(data, *args, device=None, **kwargs):
        if isinstance(data, torch.Tensor):
            wanted = data.device if device is None else device
            return data.to(device=wanted, **kwargs)
        made = original(data, *args, **kwargs)
        return on(made) if device is not None and torch.device(device).type == DEVICE else made

    return make


_CPUGenerator = torch.Generator


class _Generator(_CPUGenerator):
    def __new__(cls, device="cpu"):
        return _CPUGenerator.__new__(_CPUGenerator)


@contextlib.contextmanager
def pretend_device():
    """Inside, "meta" is a device with values."""
    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch, "tensor", _maker(torch.tensor))
        patch.setattr(torch, "as_tensor", _maker(torch.as_tensor))
        patch.setattr(torch, "Generator", _Generator)
        yield DEVICE
