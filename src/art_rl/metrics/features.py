"""Feature spaces for the Frechet distance: LeNet (84) and Inception (2048), both on uint8 images.

Images go in batch by batch and leave as moments; nothing is written to disk in between.  torch-fidelity
supplies the Inception network.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.files import fault_of_file, sha256_file
from art_rl.flow.seeds import check_not_pixels, to_uint8
from art_rl.metrics.fidelity_compat import import_torch_fidelity, safe_weight_loading
from art_rl.metrics.frechet import INCEPTION_SIZE, Moments
from art_rl.metrics.lenet import FEATURES, LeNet, load_lenet


@dataclass(frozen=True)
class Features:
    """A feature extractor.

    Attributes:
        name: "lenet" or "inception".
        dim: feature size.
        digest: identifies the weights.
        extract: uint8 (B, C, H, W) on ``device`` -> float (B, dim).
        device: where it computes.
    """

    name: str
    dim: int
    digest: str
    extract: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images (B, C, H, W), any device -> float64 features (B, dim) on the CPU."""
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ArtRLError(
                f"features need uint8 images (B, C, H, W), got {images.dtype} {tuple(images.shape)}"
            )
        return self.extract(images.to(self.device)).double().cpu()

    def moments(self, images: Tensor, batch_size: int = 500) -> Moments:
        """Moments over images (N, C, H, W), uint8 or float in [-1, 1] (then converted per batch).

        Raises:
            ArtRLError: images of another integer dtype, or floats in 0..255 (see `to_uint8`).
        """
        if images.ndim != 4:
            raise ArtRLError(f"images must be (N, C, H, W), got {tuple(images.shape)}")
        if images.is_floating_point():
            # All at once: a batch of black images alone is 0 in either range.
            check_not_pixels(images)
        moments = Moments.empty(self.dim)
        for batch in images.split(batch_size):
            pixels = batch if batch.dtype == torch.uint8 else to_uint8(batch)
            moments.update(self(pixels).numpy())
        return moments


def lenet_features(
    model: LeNet | str | os.PathLike, device: torch.device | str = "cpu"
) -> Features:
    """Penultimate layer (84) of a trained LeNet, given as a model or as its .safetensors file."""
    device = torch.device(device)
    lenet = (model if isinstance(model, LeNet) else load_lenet(model)).to(device).eval()
    return Features("lenet", FEATURES, lenet.digest, lenet.features, device)


def inception_features(
    weights_path: str | os.PathLike, device: torch.device | str = "cpu"
) -> Features:
    """Pool features (2048) of torch-fidelity's Inception-v3, float32, without TF32.

    Args:
        weights_path: asset "inception-v3" (or a state dict of the same shapes).  Grey images are
            repeated to three channels, as in the official protocol.

    Raises:
        ArtRLError: the file is missing, is not a plain state dict, or has other names or shapes.
    """
    import_torch_fidelity()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    if not os.path.isfile(weights_path):
        raise ArtRLError(f"{weights_path}: no such file; fetch asset 'inception-v3' first")
    device = torch.device(device)
    try:
        with safe_weight_loading():
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat",
                [str(INCEPTION_SIZE)],
                feature_extractor_weights_path=os.fspath(weights_path),
            )
    except Exception as error:  # torch and pickle raise half a dozen kinds for bad files
        fault = " ".join(str(error).split())[:300]
        fault = (
            fault_of_file(weights_path, pickles=True) or f"not usable as Inception weights: {fault}"
        )
        raise ArtRLError(f"{weights_path}: {fault}") from None
    network.to(device)

    def extract(images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=False, allow_tf32=False
        ):
            return network(images)[0]

    return Features("inception", INCEPTION_SIZE, sha256_file(weights_path), extract, device)
