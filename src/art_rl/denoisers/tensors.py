"""Tensors and a JSON header in one safetensors file, or in two with a report: written whole, never a pickle.

The file holds the digest of its header and tensors, checked on reading.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, fault_of_file, parse_json, read_json, sha256_file, write_json


def write_tensors(
    path: str | os.PathLike, tensors: dict[str, Tensor], head: dict[str, Any]
) -> None:
    """Write ``tensors`` and the JSON-like ``head`` (which holds its "format") atomically."""
    text = json.dumps(head, sort_keys=True, allow_nan=False)
    # Clones: tensors that share memory are refused by safetensors.
    contiguous = {name: value.clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        # One entry: safetensors writes several in an order that changes from process to process.
        metadata = {"json": f"{_digest(contiguous, text)} {text}"}
        # Not save_file: it writes under a name of its own first, which a kill would leave for ever.
        temporary.write_bytes(safetensors.torch.save(contiguous, metadata))


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 of the header and of every tensor's name, dtype, shape and bytes."""
    content = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        content.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        content.update(flat.view(torch.uint8).numpy().data)
    return content.hexdigest()


def read_tensors(
    path: str | os.PathLike, expected: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_tensors`.

    Raises:
        ArtRLError: missing, damaged, another format than ``expected``, or content that does not fit its
            digest.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            stated, _, text = (file.metadata() or {}).get("json", "").partition(" ")
            head = parse_json(text) if text.startswith("{") else None
            # Clones lie aligned, as fresh tensors do: the last bit of a dot product depends on it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except Exception as error:  # safetensors raises its own kinds
        fault = fault_of_file(path) or f"not a readable safetensors file, damaged? ({error})"
        raise ArtRLError(f"{path}: {fault}") from None
    found = head.get("format") if isinstance(head, dict) else None
    if not isinstance(head, dict) or found != expected:
        raise ArtRLError(f"{path}: format must be {expected!r}, got {found!r}")
    if stated != _digest(tensors, text):
        raise ArtRLError(
            f"{path}: its content does not fit its digest: damaged; delete it to make it again"
        )
    return tensors, head


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by what follows it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


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
    if not isinstance(head.get("report"), dict):
        raise ArtRLError(f"{head_path}: 'report' is missing or not an object; learn again")
    return tensors, meta, head["report"]


def _result_paths(path: str | os.PathLike) -> tuple[Path, Path]:
    path = Path(path)
    if path.is_dir():
        path = path / "result"
    return path.with_suffix(".safetensors"), path.with_suffix(".json")
