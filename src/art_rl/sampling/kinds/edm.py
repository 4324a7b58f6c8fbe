"""Official checkpoints, converted; measured in the feature space of Inception against official statistics."""

import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from art_rl.denoisers.device import check_device
from art_rl.denoisers.edm import EDMDenoiser, load_network
from art_rl.errors import ArtRLError
from art_rl.metrics.features import inception_features
from art_rl.metrics.frechet import Moments, Target, load_reference
from art_rl.sampling.experiment import Experiment
from art_rl.sampling.measures import FeatureMoments, Files, Measure
from art_rl.settings.sampling import CellSampling, Speed


def float32_network(weights: str | os.PathLike, device: str, tf32: bool) -> EDMDenoiser:
    """A converted checkpoint in plain float32, for learning and measuring."""
    check_device(device, tf32)
    return load_network(weights, Path(weights).with_suffix(".json"), device)


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


def build(
    name: str,
    settings: Mapping[str, Any],
    network: str | os.PathLike | None = None,
    rollouts: bool = False,
    sampling: CellSampling | None = None,
) -> Experiment:
    """``network`` as written by `art_rl.denoisers.snapshots.convert_snapshot`."""
    if not network:
        raise ArtRLError(f"models.{name} is an EDM checkpoint: its converted file is needed")
    device = settings["sampling"]["device"]
    if sampling:
        denoiser = fast_network(network, device, Speed(**settings.get("speed", {})))
    else:
        denoiser = float32_network(network, device, tf32=rollouts)

    return Experiment(
        name,
        denoiser,
        settings["sigma_min"],
        settings["sigma_max"],
        "noise",
        device,
        measures=partial(measures, settings),
    )


def measures(settings: Mapping[str, Any], files: Files) -> list[Measure]:
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
