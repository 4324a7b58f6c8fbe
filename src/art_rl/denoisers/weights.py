"""Weights of the networks trained here, read back: <name>.safetensors beside <name>.json."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from art_rl.errors import ArtRLError
from art_rl.files import fault_of_file

Network = TypeVar("Network", bound=nn.Module)


def load_weights(
    path: Path, header: Mapping[str, Any], build: Callable[[], Network], device: torch.device | str
) -> Network:
    """The network of ``build`` with the weights of ``path``; evaluation mode, no gradients for weights.

    Args:
        header: content of its JSON file; holds the ``digest`` that the network must have.
        build: makes the network from the header, which may lack a key or hold a wrong one.

    Raises:
        ArtRLError: the file is missing or damaged, a tensor is missing or has another shape, or the two
            files do not belong together.
    """
    try:
        model = build()
        model.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        reason = f"weights do not fit their JSON or are damaged: {' '.join(str(error).split())}"
        raise ArtRLError(f"{path}: {fault_of_file(path) or reason}") from None
    if model.digest != header.get("digest"):
        raise ArtRLError(
            f"{path}: digest is {model.digest}, its JSON says {header.get('digest')}; "
            "the two files do not belong together"
        )
    return model.to(device).eval().requires_grad_(False)
