"""The compact U-Net: preconditioning, differentiation, files."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from art_rl.denoisers.base import Denoiser
from art_rl.denoisers.unet import (
    UNetConfig,
    UNetDenoiser,
    load_model,
    parameter_count,
    save_model,
)
from art_rl.errors import ArtRLError

CONFIG = Path(__file__).parents[2] / "config"
TINY = UNetConfig(shape=(1, 8, 8), channels=(8, 16), embedding=8)


def random_model(config=TINY, sigma_data=0.7, seed=0) -> UNetDenoiser:
    """Zero-initialised layers filled too, so that every weight matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = UNetDenoiser(config, sigma_data)
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def inputs(model, n=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, *model.shape, generator=generator, dtype=torch.float64)
    return x, torch.tensor([0.01, 0.5, 40.0])[:n]


@pytest.mark.parametrize(
    ("file", "name", "shape", "parameters"),
    [("digits_full", "digits", (1, 8, 8), 218_081), ("mnist", "mnist", (1, 32, 32), 1_245_076)],
)
def test_sizes_of_the_shipped_networks(file, name, shape, parameters):
    network = yaml.safe_load((CONFIG / f"{file}.yaml").read_text())["models"][name]["network"]
    assert parameter_count(UNetDenoiser(UNetConfig(shape=shape, **network), 0.5)) == parameters


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        UNetConfig((3, 8, 8), channels=(8, 8, 16), blocks=2, attention=False),
        UNetConfig((1, 16, 16), channels=(16, 8), patch=2, embedding=8, label_dim=3),
        UNetConfig((1, 4, 4), channels=(8,)),
    ],
    ids=["tiny", "three_levels", "patch_conditional", "one_level"],
)
def test_every_weight_matters_and_shapes_hold(config):
    model = random_model(config).requires_grad_(True)
    assert isinstance(model, Denoiser)
    x, sigma = inputs(model)
    labels = torch.eye(config.label_dim) if config.label_dim else None
    out = model(x, sigma, labels)
    assert out.shape == x.shape and out.dtype == torch.float32
    (out * torch.randn_like(out)).sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before a normalisation with as many groups as channels has no effect; there are none.
    assert dead == []


def test_preconditioning_against_the_formulas():
    model = random_model()
    x, sigma = inputs(model)
    sd = model.sigma_data
    out = model(x, sigma)
    for i, s in enumerate(sigma.double()):
        root = torch.sqrt(s**2 + sd**2)
        inner = model.net((x[i : i + 1] / root).float(), torch.log(s.float()) / 4).double()
        want = sd**2 / root**2 * x[i] + s * sd / root * inner[0]
        assert torch.allclose(out[i].double(), want, rtol=1e-5, atol=1e-5 * x.abs().max())


def test_untrained_network_is_the_best_linear_denoiser():
    # The last layer starts at 0: D = c_skip x, which is exact for Gaussian data of mean 0.
    model = UNetDenoiser(TINY, 0.5)
    x, sigma = inputs(model)
    shrink = (0.25 / (0.25 + sigma.double() ** 2)).reshape(-1, 1, 1, 1)
    assert torch.allclose(model(x, sigma).double(), shrink * x, rtol=1e-5, atol=1e-6)


def test_shared_and_repeated_noise_level_agree():
    model = random_model()
    x, _ = inputs(model)
    one = model(x, torch.tensor(0.3))
    many = model(x, torch.full((3,), 0.3))
    assert torch.allclose(one, many, rtol=0, atol=1e-6)


def test_labels_matter():
    config = UNetConfig((1, 8, 8), channels=(8,), embedding=8, label_dim=4)
    model = random_model(config)
    x, sigma = inputs(model)
    a = model(x, sigma, torch.eye(4)[:3])
    b = model(x, sigma, torch.eye(4)[1:])
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("config", [TINY, UNetConfig((1, 8, 8), channels=(8, 8), patch=2)])
def test_forward_mode_derivative(config):
    # Against a central difference of the float64 network (test of the path, not of rounding).
    model = random_model(config)
    net = model.net.double()
    x, sigma = inputs(model)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    c_noise, dc = torch.log(sigma.double()) / 4, torch.tensor([0.3, -0.2, 0.1]).double()
    _, derivative = torch.func.jvp(net, (x, c_noise), (v, dc))
    h = 1e-6  # measured: agrees to 7e-8 at values up to 8
    central = (net(x + h * v, c_noise + h * dc) - net(x - h * v, c_noise - h * dc)) / (2 * h)
    assert derivative.abs().max() > 0.01
    assert torch.allclose(derivative, central, rtol=0, atol=5e-7)
    # And through the whole denoiser in float32, in (x, sigma) together.
    model = random_model(config)
    f = lambda x, s: model(x, s)  # noqa: E731
    _, whole = torch.func.jvp(f, (x.float(), sigma), (v.float(), 0.1 * sigma))
    h = 1e-2
    up, down = f(x + h * v, sigma * (1 + 0.1 * h)), f(x - h * v, sigma * (1 - 0.1 * h))
    assert torch.allclose(whole, (up - down) / (2 * h), rtol=2e-2, atol=5e-3)


def test_save_and_load(tmp_path):
    model = random_model()
    path = tmp_path / "m.safetensors"
    given = save_model(path, model, {"note": 1})
    loaded = load_model(path)
    assert given == model.digest == loaded.digest
    assert not any(p.requires_grad for p in loaded.parameters()) and not loaded.training
    x, sigma = inputs(model)
    assert torch.equal(model(x, sigma), loaded(x, sigma))
    header = json.loads((tmp_path / "m.json").read_text())
    assert header["training"] == {"note": 1}
    assert header["parameters"] == parameter_count(model)
    assert random_model(seed=1).digest != given
    assert random_model(sigma_data=0.6).digest != given


def test_damaged_model_files(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ArtRLError, match="no such file"):
        load_model(path)
    save_model(path, random_model())
    good, header = path.read_bytes(), (tmp_path / "m.json").read_text()
    path.write_bytes(good[:-10])
    with pytest.raises(ArtRLError, match="damaged"):
        load_model(path)
    flipped = bytearray(good)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ArtRLError, match="do not belong together"):
        load_model(path)
    path.write_bytes(good)
    (tmp_path / "m.json").write_text(header.replace('"patch": 1', '"patch": 2'))
    with pytest.raises(ArtRLError, match=r"m\.json: its content does not fit its content_sha256"):
        load_model(path)
    header = header[: header.index(',\n  "content_sha256"')] + "\n}"  # as if meant
    (tmp_path / "m.json").write_text(header.replace('"patch": 1', '"patch": 2'))
    with pytest.raises(ArtRLError, match="do not fit"):
        load_model(path)
    (tmp_path / "m.json").write_text(header.replace("art_rl.unet", "other"))
    with pytest.raises(ArtRLError, match=r"not a art_rl\.unet file"):
        load_model(path)
    for training in ("[]", '{"settings": 3}'):
        (tmp_path / "m.json").write_text(
            header.replace('"training": {}', f'"training": {training}')
        )
        with pytest.raises(ArtRLError, match=r"m\.json: 'training' must be an object"):
            load_model(path)
    noise = '"training": {"settings": {"P_mean": "a"}}'
    (tmp_path / "m.json").write_text(header.replace('"training": {}', noise))
    with pytest.raises(ArtRLError, match=r"do not fit their JSON .* could not convert"):
        load_model(path)
    with pytest.raises(ArtRLError, match=r"\.safetensors file"):
        save_model(tmp_path / "m.pt", random_model())


@pytest.mark.parametrize(
    "options, phrase",
    [
        ({"shape": (1, 9, 8)}, "divisible by 2"),
        ({"channels": (8, 12)}, "channels.1 must be a multiple of 8, got 12"),
        ({"channels": ()}, r"channels must have 1 or more entries, got \(\)"),
        ({"channels": (8.5,)}, "channels.0 must be a whole number, got 8.5"),
        (
            {"channels": ("8",)},
            "channels.0 must be a whole number, got '8'; it is text, write 8 without",
        ),
        ({"channels": 8}, "channels must be a list, got 8"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"patch": 0}, "patch must be at least 1, got 0"),
        ({"patch": 2.5}, "patch must be a whole number, got 2.5"),
        ({"embedding": 7}, "embedding must be a multiple of 2, got 7"),
        ({"embedding": "64"}, "embedding must be a whole number, got '64'"),
        ({"label_dim": -1}, "label_dim must be at least 0, got -1"),
        ({"attention": 1}, "attention must be true or false, got 1"),
        ({"shape": (8, 8)}, "shape.2' is missing"),
        ({"shape": (1, 0, 8)}, "shape.1 must be at least 1, got 0"),
        ({"shape": (1, 8.5, 8)}, "shape.1 must be a whole number, got 8.5"),
        ({"shape": 8}, "shape must be a list, got 8"),
    ],
)
def test_bad_configuration(options, phrase):
    with pytest.raises(ArtRLError, match=phrase):
        UNetConfig(**{"shape": (1, 8, 8), **options})


def test_bad_sigma_data():
    with pytest.raises(ArtRLError, match="sigma_data must be positive"):
        UNetDenoiser(TINY, float("nan"))
