"""Results of learners: tensors and settings in one file, settings and report beside it."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from art_rl.denoisers.tensors import read_tensors, write_tensors
from art_rl.errors import ArtRLError
from art_rl.files import read_json, sha256_file, write_json


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
