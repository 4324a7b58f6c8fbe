"""Official checkpoints, converted; measured in the feature space of Inception against official statistics."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from art_rl.denoisers.device import check_device
from art_rl.denoisers.edm import EDMDenoiser, load_network
from art_rl.metrics.features import inception_features
from art_rl.metrics.frechet import Moments, Target, load_reference
from art_rl.sampling.measures import FeatureMoments, Files, Measure
from art_rl.settings.sampling import CellSampling, Speed


def fast_network(weights: str | os.PathLike, device: str, speed: Speed) -> EDMDenoiser:
    """A converted checkpoint for sampling.

    Args:
        speed: options of ``art_rl.denoisers.edm.optimise``; with float32 convolutions are float32 too,
            not TF32.
    """
    check_device(device, tf32=speed.dtype != "float32")
    description = Path(weights).with_suffix(".json")
    options = {**speed.to_dict(), "dtype": getattr(torch, speed.dtype)}
    return load_network(weights, description, device, **options)


def denoiser(
    settings: Mapping[str, Any],
    network: str | os.PathLike,
    rollouts: bool,
    sampling: CellSampling | None,
) -> EDMDenoiser:
    """``network`` as written by `art_rl.denoisers.snapshots.convert_snapshot`; plain float32 to learn on."""
    device = settings["sampling"]["device"]
    if sampling:
        return fast_network(network, device, Speed(**settings.get("speed", {})))
    check_device(device, tf32=rollouts)
    return load_network(network, Path(network).with_suffix(".json"), device)


def measures(settings: Mapping[str, Any], files: Files, denoiser: Any = None) -> list[Measure]:
    """FID to the official reference statistics."""

    @cache
    def target() -> Target:
        return Target.of(*load_reference(files.known_target()))

    def distance(moments: Moments) -> float:
        return target().distance(moments)

    features = None
    if files.features:
        features = inception_features(files.features, settings["sampling"]["device"])
    note = "the same checkpoint, data and features unless the configuration says otherwise"
    return [FeatureMoments(features, distance, "FID (Inception)", note)]
