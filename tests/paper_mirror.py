"""A mirror of small self-made files in the official layouts, for runs of config/paper_smoke.yaml.

python tests/paper_mirror.py FOLDER

writes two EDM snapshots (random networks, 32x32x3), FID reference statistics in the `cifar` shape, and
Inception weights with the right names and shapes but random values.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from snapshot_writer import write_snapshot

from art_rl.denoisers.edm import build_network
from art_rl.metrics.fidelity_compat import import_torch_fidelity

NETWORK = {
    "img_resolution": 32,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [16],
}


def random_state(label_dim: int, seed: int) -> tuple[dict, dict]:
    """Constructor arguments and a state dict in which every layer counts."""
    kwargs = NETWORK | {"label_dim": label_dim}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build_network("EDMPrecond", kwargs)
        for parameter in net.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return kwargs, {name: value.detach() for name, value in net.state_dict().items()}


def write_reference(path: Path, seed: int = 0, rank: int = 16) -> None:
    """(mu, sigma) float64 of 2048 features, as the official files hold them."""
    rng = np.random.default_rng(seed)
    factor = 0.05 * rng.standard_normal((2048, rank))
    np.savez(path, mu=0.4 + 0.1 * rng.standard_normal(2048), sigma=factor @ factor.T)


def write_inception(path: Path) -> None:
    """Stand-in weights; names and shapes are taken from torch-fidelity's own module."""
    import_torch_fidelity()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    class Found(Exception):
        pass

    shapes = {}

    class Shapes(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state, *args, **kwargs):
            shapes.update({k: (v.shape, v.dtype) for k, v in self.state_dict().items()})
            raise Found

    torch.save({}, path)
    try:
        with torch.device("meta"):
            Shapes("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Found:
        pass
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (shape, dtype) in shapes.items():
        if not dtype.is_floating_point:
            state[name] = torch.zeros(shape, dtype=dtype)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.ones(shape)
        elif len(shape) > 1:
            fan_in = int(np.prod(shape[1:]))
            state[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        else:
            state[name] = torch.zeros(shape)
    torch.save(state, path)


def make_mirror(folder: Path) -> Path:
    """Write all files below ``folder`` and return it."""
    for group in ("edm", "fid_refs", "inception"):
        (folder / group).mkdir(parents=True, exist_ok=True)
    for name, label_dim, seed in (("tiny-cond", 10, 0), ("tiny-uncond", 0, 1)):
        kwargs, state = random_state(label_dim, seed)
        write_snapshot(folder / f"edm/{name}.pkl", "EDMPrecond", kwargs, state)
    write_reference(folder / "fid_refs/tiny.npz")
    write_inception(folder / "inception/tiny-inception.pth")
    return folder


if __name__ == "__main__":
    make_mirror(Path(sys.argv[1]))
