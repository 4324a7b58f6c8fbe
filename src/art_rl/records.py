"""Which software produced a result: the ``versions`` entry of every provenance."""

import platform
from importlib.metadata import version

VERSION = "0.1.0"  # of art_rl, as pyproject.toml says


def versions() -> dict[str, str]:
    """Versions of art_rl, torch, numpy and python, as strings (JSON-like)."""
    # Asked of the packages' metadata: importing torch to read its version takes seconds.
    return {
        "art_rl": VERSION,
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
