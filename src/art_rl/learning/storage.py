"""Tensors and a JSON header in one safetensors file: written whole or not at all, never a pickle."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, read_json, sha256_file, write_json


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


def write_result(
    path: str | os.PathLike, tensors: dict[str, Tensor], meta: dict[str, Any], report: dict
) -> None:
    """Write <path>.safetensors (tensors, ``meta``) and <path>.json (``meta``, their digest, ``report``).

    Any suffix of ``path`` is replaced; the JSON file comes last, so that its presence means both are whole.
    """
    tensors_path, head_path = _result_paths(path)
    write_tensors(tensors_path, tensors, meta)
    write_json(head_path, {**meta, "tensors_sha256": sha256_file(tensors_path), "report": report})


def read_result(
    path: str | os.PathLike, expected: str
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Tensors, ``meta`` and report of `write_result`, by its path, either file, or a folder of "result".

    Raises:
        ArtRLError: a file is missing, damaged, of another format, or the two do not belong together.
    """
    tensors_path, head_path = _result_paths(path)
    tensors, meta = read_tensors(tensors_path, expected)
    head = read_json(head_path)
    if not isinstance(head, dict) or head.get("tensors_sha256") != sha256_file(tensors_path):
        raise ArtRLError(f"{head_path}: does not belong to {tensors_path.name}; learn again")
    return tensors, meta, head["report"]


def _result_paths(path: str | os.PathLike) -> tuple[Path, Path]:
    path = Path(path)
    if path.is_dir():
        path = path / "result"
    return path.with_suffix(".safetensors"), path.with_suffix(".json")
