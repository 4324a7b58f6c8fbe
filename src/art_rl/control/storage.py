"""Tensors and a JSON header in one safetensors file: written whole or not at all, never a pickle."""

import json
import os
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import atomic_path


def write_tensors(
    path: str | os.PathLike, tensors: dict[str, Tensor], head: dict[str, Any]
) -> None:
    """Write ``tensors`` and the JSON-like ``head`` (which holds its "format") atomically."""
    text = json.dumps(head, sort_keys=True, allow_nan=False)
    # Clones: tensors that share memory are refused by safetensors.
    contiguous = {name: value.clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(contiguous, temporary, metadata={"json": text})


def read_tensors(
    path: str | os.PathLike, expected: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_tensors`.

    Raises:
        ArtRLError: missing, damaged, or another format than ``expected``.
    """
    if not os.path.exists(path):
        raise ArtRLError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {}).get("json", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # safetensors raises its own kinds
        raise ArtRLError(f"{path}: not a readable safetensors file, damaged? ({error})") from None
    if head.get("format") != expected:
        raise ArtRLError(f"{path}: format must be {expected!r}, got {head.get('format')!r}")
    return tensors, head
