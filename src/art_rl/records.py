"""Which software produced a result: the ``versions`` entry of every provenance."""

import platform
from importlib.metadata import version

import art_rl


def versions() -> dict[str, str]:
    """Versions of art_rl, torch, numpy and python, as strings (JSON-like)."""
    # Asked of the packages' metadata: importing torch to read its version takes seconds.
    return {
        "art_rl": art_rl.__version__,
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
