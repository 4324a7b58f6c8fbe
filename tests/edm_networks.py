"""Small random EDM networks and the reference networks, shared by the tests."""

import json

import numpy as np
import torch

from art_rl.denoisers.edm import EDMDenoiser, Preconditioned, build_network, load_weights

DDPMPP = {
    "img_resolution": 8,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}
NCSNPP = DDPMPP | {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}
ADM = DDPMPP | {"model_type": "DhariwalUNet", "channel_mult": [1, 4], "label_dim": 10}
SKIP = DDPMPP | {"encoder_type": "skip", "decoder_type": "skip", "augment_dim": 9}

SMALL = {
    "ddpmpp": ("EDMPrecond", DDPMPP),
    "ddpmpp_cond": ("EDMPrecond", DDPMPP | {"label_dim": 10, "augment_dim": 9}),
    "ncsnpp": ("EDMPrecond", NCSNPP),
    "adm": ("EDMPrecond", ADM),
    "skip": ("EDMPrecond", SKIP),
    "vp": ("VPPrecond", DDPMPP),
    "ve": ("VEPrecond", NCSNPP),
    "iddpm": ("iDDPMPrecond", ADM),
}


def random_network(name: str, seed: int = 0) -> Preconditioned:
    """A network of SMALL with every parameter random, so that every branch counts."""
    class_name, kwargs = SMALL[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build_network(class_name, kwargs)
        for parameter in net.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            torch.nn.init.normal_(parameter, std=scale)
            if parameter.ndim == 1:
                parameter.data += 0.5
    return net.eval()


def random_denoiser(name: str, seed: int = 0) -> EDMDenoiser:
    """The same behind the Denoiser protocol."""
    return EDMDenoiser(random_network(name, seed), digest=f"{name}-{seed}")


def golden_network(path) -> tuple[Preconditioned, dict, dict]:
    """The network, arrays and configuration of a reference file."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    config = json.loads(str(arrays.pop("config_json")))
    net = build_network(config["precond_class"], config["kwargs"])
    weights = {
        name[3:]: torch.from_numpy(value)
        for name, value in arrays.items()
        if name.startswith("sd/")
    }
    load_weights(net, weights, path)
    return net.eval(), arrays, config
