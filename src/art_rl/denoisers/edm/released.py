"""The nine released EDM networks: constructor arguments and sizes (Karras et al. 2022, table 7)."""

from dataclasses import dataclass
from typing import Any

_COMMON = {"img_channels": 3, "sigma_data": 0.5}
_VP = {
    "model_type": "SongUNet",
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "resample_filter": [1, 1],
    "model_channels": 128,
    "augment_dim": 9,
}
_VE = _VP | {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}
_ADM = {
    "model_type": "DhariwalUNet",
    "model_channels": 192,
    "channel_mult": [1, 2, 3, 4],
    "dropout": 0.10,
    "use_fp16": True,
}
_CIFAR = _COMMON | {"img_resolution": 32, "channel_mult": [2, 2, 2], "dropout": 0.13}
_64 = _COMMON | {"img_resolution": 64, "label_dim": 0, "channel_mult": [1, 2, 2, 2]}
_FFHQ = _64 | {"dropout": 0.05}
_AFHQ = _64 | {"dropout": 0.25}


@dataclass(frozen=True)
class Released:
    """Arguments of EDMPrecond, number of parameters, number of tensors in the state dict."""

    kwargs: dict[str, Any]
    parameters: int
    tensors: int


RELEASED = {
    "edm-cifar10-32x32-uncond-vp": Released(_VP | _CIFAR | {"label_dim": 0}, 55_733_891, 425),
    "edm-cifar10-32x32-uncond-ve": Released(_VE | _CIFAR | {"label_dim": 0}, 56_397_827, 432),
    "edm-cifar10-32x32-cond-vp": Released(_VP | _CIFAR | {"label_dim": 10}, 55_735_299, 427),
    "edm-cifar10-32x32-cond-ve": Released(_VE | _CIFAR | {"label_dim": 10}, 56_400_643, 434),
    "edm-ffhq-64x64-uncond-vp": Released(_VP | _FFHQ, 61_805_571, 553),
    "edm-ffhq-64x64-uncond-ve": Released(_VE | _FFHQ, 62_761_091, 563),
    "edm-afhqv2-64x64-uncond-vp": Released(_VP | _AFHQ, 61_805_571, 553),
    "edm-afhqv2-64x64-uncond-ve": Released(_VE | _AFHQ, 62_761_091, 563),
    "edm-imagenet-64x64-cond-adm": Released(
        _ADM | _COMMON | {"img_resolution": 64, "label_dim": 1000}, 295_899_267, 553
    ),
}
