"""Where networks compute: is there a GPU, and do its convolutions round to TF32?"""

import torch

from art_rl.errors import ArtRLError


def check_device(device: str, tf32: bool = False) -> None:
    """Refuse a GPU that is not there; set PyTorch's switch for TF32 in convolutions.

    Args:
        device: "cpu" or "cuda".
        tf32: whether convolutions may round to TF32 (errors of 1e-3), PyTorch's default.  Endpoint
            errors and |Q|, a difference of D, are smaller than that.

    Raises:
        ArtRLError: ``device`` is cuda and torch sees no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ArtRLError(
            "sampling.device is cuda, but torch sees no GPU; with --use-conda the environment "
            "envs/gpu.yaml brings a CUDA build of torch"
        )
    torch.backends.cudnn.allow_tf32 = tf32
