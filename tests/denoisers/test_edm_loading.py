"""Snapshot to safetensors to denoiser: the round trip, and every mismatch named."""

import json

import pytest
import torch
from edm_networks import SMALL, random_network
from safetensors.torch import load_file, save_file
from snapshot_writer import write_snapshot

from art_rl.denoisers.edm import build_network, load_network, load_weights
from art_rl.denoisers.snapshots import convert_snapshot
from art_rl.errors import ArtRLError
from art_rl.files import read_json, sha256_file, write_json

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def limits(net):
    values = {"sigma_min": net.sigma_min, "sigma_max": net.sigma_max}
    return values | {"sigma_data": net.sigma_data} if type(net).__name__ == "EDMPrecond" else values


def convert(folder, name="ddpmpp"):
    """A random network through a snapshot pickle; returns it and the two files."""
    net = random_network(name)
    class_name, kwargs = SMALL[name]
    path = write_snapshot(
        folder / "net.pkl", class_name, kwargs, net.state_dict(), attributes=limits(net)
    )
    files = folder / "net.safetensors", folder / "net.json"
    convert_snapshot(path, *files)
    return net, *files


def rewrite(weights, description, change):
    """Change the tensors and keep the description's digest right."""
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    value = read_json(description)
    write_json(description, value | {"weights_sha256": sha256_file(weights)})


@pytest.mark.parametrize("name", SMALL)
def test_round_trip(tmp_path, name):
    net, weights, description = convert(tmp_path, name)
    denoiser = load_network(weights, description)
    labels = torch.zeros(len(X), net.label_dim) if net.label_dim else None
    assert torch.equal(denoiser(X, 0.7, labels), net(X, 0.7))
    assert (denoiser.sigma_min, denoiser.sigma_max) == (net.sigma_min, net.sigma_max)
    assert denoiser.label_dim == net.label_dim
    assert denoiser.digest == load_network(weights, description, dtype=torch.bfloat16).digest


def test_digest_follows_the_weights(tmp_path):
    _, weights, description = convert(tmp_path)
    before = load_network(weights, description).digest
    rewrite(weights, description, lambda tensors: tensors["model.map_layer0.bias"].add_(1))
    assert load_network(weights, description).digest != before


def test_missing_tensor(tmp_path):
    _, weights, description = convert(tmp_path)
    rewrite(weights, description, lambda tensors: tensors.pop("model.enc.8x8_conv.bias"))
    with pytest.raises(ArtRLError, match=r"model\.enc\.8x8_conv\.bias is missing"):
        load_network(weights, description)


def test_wrong_shape(tmp_path):
    _, weights, description = convert(tmp_path)

    def change(tensors):
        tensors["model.map_layer0.weight"] = torch.zeros(64, 15)

    rewrite(weights, description, change)
    with pytest.raises(
        ArtRLError, match=r"map_layer0\.weight must have shape \(64, 16\).*\(64, 15\)"
    ):
        load_network(weights, description)


def test_extra_tensor(tmp_path):
    _, weights, description = convert(tmp_path)
    rewrite(weights, description, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(ArtRLError, match="extra has no place"):
        load_network(weights, description)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path, value):
    _, weights, description = convert(tmp_path)
    rewrite(weights, description, lambda tensors: tensors["model.map_layer0.bias"].fill_(value))
    with pytest.raises(ArtRLError, match=r"map_layer0\.bias must hold finite"):
        load_network(weights, description)


def test_integers_in_place_of_weights():
    net = random_network("ddpmpp")
    weights = net.state_dict() | {"model.map_layer0.bias": torch.zeros(64, dtype=torch.int64)}
    with pytest.raises(ArtRLError, match=r"map_layer0\.bias must hold finite floating"):
        load_weights(net, weights)


def test_another_resampling_filter(tmp_path):
    _, weights, description = convert(tmp_path)

    def change(tensors):
        tensors["model.enc.4x4_down.conv0.resample_filter"][0, 0, 0, 0] += 0.1

    rewrite(weights, description, change)
    with pytest.raises(ArtRLError, match=r"4x4_down\.conv0\.resample_filter is not the filter"):
        load_network(weights, description)


def test_wrong_digest(tmp_path):
    _, weights, description = convert(tmp_path)
    expected = sha256_file(weights)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtRLError, match=f"{sha256_file(weights)}.*{expected}"):
        load_network(weights, description)


def test_damaged_safetensors(tmp_path):
    _, weights, description = convert(tmp_path)
    weights.write_bytes(b"not safetensors")
    write_json(description, read_json(description) | {"weights_sha256": sha256_file(weights)})
    with pytest.raises(ArtRLError, match="safetensors"):
        load_network(weights, description)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format"),
        ({"format_version": 2}, "format_version must be 1, got 2"),
        ({"class": "Precond"}, "must be one of EDMPrecond.*'Precond'"),
        ({"class": None}, "'class'"),
        ({"kwargs": {"img_resolution": 8}}, "img_channels"),
        ({"kwargs": {"img_resolution": 8, "img_channels": 3, "colour": 1}}, "colour"),
        ({"limits": {"sigma_max": 99.0}}, "sigma_max is 99.0.*inf"),
        ({"limits": {"sigma_data": "x"}}, "sigma_data is 'x'"),
        ({"limits": {"sigma_data": True}}, "sigma_data is True"),
        ({"limits": {"sigma_max": 10**400}}, "sigma_max is 1000"),
    ],
)
def test_bad_descriptions(tmp_path, changes, message):
    _, weights, description = convert(tmp_path)
    write_json(description, read_json(description) | changes)
    with pytest.raises(ArtRLError, match=message):
        load_network(weights, description)


def test_missing_files(tmp_path):
    _, weights, description = convert(tmp_path)
    with pytest.raises(ArtRLError, match="no such file"):
        load_network(tmp_path / "none.safetensors", description)
    with pytest.raises(ArtRLError, match="no such file"):
        load_network(weights, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "UNet"}, "model_type must be one of SongUNet, DhariwalUNet, got 'UNet'"),
        ({"encoder_type": "dense"}, "encoder_type"),
        ({"num_blocks": 10**9}, r"num_blocks of EDMPrecond must be an integer in \[0, 64\]"),
        ({"channel_mult": [1] * 40}, "channel_mult"),
        ({"model_channels": -16}, "model_channels"),
        ({"model_channels": "16"}, "model_channels"),
        ({"model_channels": 6}, "do not fit"),
        ({"model_type": ["SongUNet"]}, "model_type"),
    ],
)
def test_arguments_no_network_has(changes, message):
    with pytest.raises(ArtRLError, match=message):
        build_network("EDMPrecond", SMALL["ddpmpp"][1] | changes)


@pytest.mark.parametrize(
    ("class_name", "name", "value"),
    [
        ("EDMPrecond", "img_resolution", 0),
        ("EDMPrecond", "img_resolution", 8.0),
        ("EDMPrecond", "img_resolution", 9),
        ("EDMPrecond", "img_channels", "3"),
        ("EDMPrecond", "img_channels", 10**9),
        ("EDMPrecond", "label_dim", True),
        ("EDMPrecond", "use_fp16", "no"),
        ("EDMPrecond", "model_type", ""),
        ("EDMPrecond", "sigma_min", [1]),
        ("EDMPrecond", "sigma_min", "inf"),
        ("EDMPrecond", "sigma_max", 10**400),
        ("EDMPrecond", "sigma_max", float("nan")),
        ("EDMPrecond", "sigma_data", 0),
        ("EDMPrecond", "augment_dim", -1),
        ("EDMPrecond", "model_channels", 2),
        ("EDMPrecond", "model_channels", 17),
        ("EDMPrecond", "channel_mult", []),
        ("EDMPrecond", "channel_mult", [1.5]),
        ("EDMPrecond", "channel_mult", [1, 0]),
        ("EDMPrecond", "channel_mult", [10**18]),
        ("EDMPrecond", "channel_mult_noise", 0),
        ("EDMPrecond", "attn_resolutions", {"4": 1}),
        ("EDMPrecond", "dropout", "x"),
        ("EDMPrecond", "dropout", None),
        ("EDMPrecond", "dropout", -0.1),
        ("EDMPrecond", "resample_filter", []),
        ("EDMPrecond", "resample_filter", [1, 2, 1]),
        ("EDMPrecond", "resample_filter", [1, -1]),
        ("EDMPrecond", "resample_filter", [1] * 10_000),
        ("VPPrecond", "beta_d", 1e300),
        ("VPPrecond", "epsilon_t", "x"),
        ("VPPrecond", "M", 1),
        ("iDDPMPrecond", "M", 0),
        ("iDDPMPrecond", "C_1", 0),
        ("iDDPMPrecond", "C_2", -1),
    ],
)
def test_bad_arguments_are_named_with_rule_and_value(class_name, name, value):
    with pytest.raises(ArtRLError, match=f"^{name} of {class_name} must be .*, got ") as caught:
        build_network(class_name, SMALL["ddpmpp"][1] | {name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_default_arguments_need_a_resolution_that_can_be_halved():
    with pytest.raises(ArtRLError, match="multiple of 8"):
        build_network("EDMPrecond", {"img_resolution": 12, "img_channels": 3})


def test_levels_in_the_wrong_order():
    with pytest.raises(ArtRLError, match=r"from 2\.0 to 1\.0"):
        build_network("VEPrecond", SMALL["ve"][1] | {"sigma_min": 2.0, "sigma_max": 1.0})


def test_official_snapshots_give_the_official_outputs(test_data, tmp_path):
    import numpy as np

    folder = test_data("goldens/edm_pickles")
    for name in ("ddpmpp_uncond", "ddpmpp_uncond_np1", "adm_cond"):
        files = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.json"
        convert_snapshot(folder / f"snapshot_{name}.pkl", *files)
        denoiser = load_network(*files)
        with np.load(folder / f"snapshot_{name}_expected.npz", allow_pickle=False) as expected:
            case = json.loads(str(expected["config_json"]))["golden_case"]
        with np.load(test_data("goldens/edm") / f"{case}.npz", allow_pickle=False) as golden:
            arrays = {
                key: torch.from_numpy(golden[key])
                for key in ("x", "sigma", "out", "class_labels")
                if key in golden.files
            }
        out = denoiser(arrays["x"], arrays["sigma"], arrays.get("class_labels"))
        scale = float(arrays["out"].abs().max())
        torch.testing.assert_close(out, arrays["out"], rtol=0, atol=4e-6 * scale)
