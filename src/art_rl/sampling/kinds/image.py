"""Networks trained here on small images, measured in the feature space of a LeNet."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from art_rl.denoisers.device import check_device
from art_rl.denoisers.unet import load_model
from art_rl.errors import ArtRLError
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.sampling.experiment import Experiment
from art_rl.sampling.measures import EndpointRMSE, FeatureMoments, Files, Measure


def build(
    name: str,
    settings: Mapping[str, Any],
    network: str | os.PathLike | None = None,
    **_: Any,
) -> Experiment:
    """``network`` as written by `art_rl.denoisers.unet.save_model`; classes are per seed."""
    if not network:
        raise ArtRLError(f"models.{name} is an image model: its network's file is needed")
    device = settings.get("sampling", {}).get("device", "cpu")
    check_device(device)

    return Experiment(
        name,
        load_model(network, device),
        settings["sigma_min"],
        settings["sigma_max"],
        "noise",
        device,
        measures=partial(measures, settings),
    )


def measures(settings: Mapping[str, Any], files: Files) -> list[Measure]:
    """RMSE, and LeNet-FID to the training set."""

    def distance(moments: Moments) -> float:
        return frechet_between(moments, Moments.load(files.known_target()))

    device = settings.get("sampling", {}).get("device", "cpu")
    features = lenet_features(files.features, device) if files.features else None
    return [EndpointRMSE(files.reference), FeatureMoments(features, distance, "LeNet-FID")]
