"""Networks trained here on small images, measured in the feature space of a LeNet."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from art_rl.denoisers.device import check_device
from art_rl.denoisers.unet import UNetDenoiser, load_model
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.sampling.measures import EndpointRMSE, FeatureMoments, Files, Measure
from art_rl.settings.sampling import CellSampling


def denoiser(
    settings: Mapping[str, Any],
    network: str | os.PathLike,
    rollouts: bool,
    sampling: CellSampling | None,
) -> UNetDenoiser:
    """``network`` as written by `art_rl.denoisers.unet.save_model`.

    Where only samples are wanted it lies in memory as NHWC: 1.3 to 1.6 times faster on a CPU, the same to
    3e-6.  PyTorch has no forward-mode derivative of it, which |Q| needs.
    """
    device = settings.get("sampling", {}).get("device", "cpu")
    check_device(device)
    model = load_model(network, device)
    if rollouts or sampling:  # torch's stubs know ``memory_format`` without a device only
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def measures(settings: Mapping[str, Any], files: Files, denoiser: Any = None) -> list[Measure]:
    """RMSE, and LeNet-FID to the training set."""

    def distance(moments: Moments) -> float:
        return frechet_between(moments, Moments.load(files.known_target()))

    device = settings.get("sampling", {}).get("device", "cpu")
    features = lenet_features(files.features, device) if files.features else None
    return [EndpointRMSE(files.reference), FeatureMoments(features, distance, "LeNet-FID")]
