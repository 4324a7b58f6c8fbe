"""Which software produced a result: the ``versions`` entry of every provenance."""

import platform

import numpy as np
import torch

import art_rl


def versions() -> dict[str, str]:
    """Versions of art_rl, torch, numpy and python, as strings (JSON-like)."""
    return {
        "art_rl": art_rl.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
