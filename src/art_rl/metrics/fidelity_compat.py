"""Importing torch-fidelity where torchvision's compiled operators do not fit the installed torch.

torch-fidelity imports torchvision, of which this project needs nothing.  A CPU build of torch beside
a CUDA build of torchvision (what the package index gives by default) fails at ``import torchvision``:
its compiled part cannot be loaded, and it then describes two operators, ``nms`` and ``qnms``, that
nobody declared.  Declaring them (their signatures only; calling them still fails) lets the import pass.

torch-fidelity also reads weight files with full unpickling, which can execute code; here that is
switched off with torch's own switch while it reads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_FORCE_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def import_torch_fidelity() -> ModuleType:
    """The module ``torch_fidelity``, importable with any pair of torch and torchvision builds."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(f"torchvision::{name}", _SIGNATURE)
    import torch_fidelity

    return torch_fidelity


@contextmanager
def safe_weight_loading() -> Iterator[None]:
    """While active, every torch.load in this process reads tensors only and executes nothing."""
    before = os.environ.get(_FORCE_SAFE)
    os.environ[_FORCE_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE_SAFE]
        else:
            os.environ[_FORCE_SAFE] = before
