"""Score networks of the shipped configurations, for benchmarks without a trained one."""

from pathlib import Path

import yaml

from art_rl.settings.networks import UNetConfig

# Configuration and image shape by name.
SHIPPED = {"digits": ("digits_full.yaml", (1, 8, 8)), "mnist": ("mnist.yaml", (1, 32, 32))}


def shipped_settings(name: str) -> dict:
    """The model ``name`` ("digits" or "mnist") as its configuration has it."""
    file, _ = SHIPPED[name]
    return yaml.safe_load(
        (Path(__file__).parents[1] / "config" / file).read_text(encoding="utf-8")
    )["models"][name]


def shipped(name: str) -> UNetConfig:
    """The network of ``name`` as its configuration has it."""
    return UNetConfig(shape=SHIPPED[name][1], **shipped_settings(name)["network"])
