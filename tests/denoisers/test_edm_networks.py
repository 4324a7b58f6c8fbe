"""EDM networks: reference outputs, formulas, parameter counts, forward-mode differentiation, dtypes."""

import math

import numpy as np
import pytest
import torch
from edm_networks import SMALL, golden_network, random_denoiser, random_network

from art_rl.denoisers import Denoiser
from art_rl.denoisers.edm import RELEASED, EDMDenoiser, build_network, optimise
from art_rl.denoisers.edm.layers import Conv2d, PositionalEmbedding, attention
from art_rl.denoisers.edm.preconditioning import iddpm_levels
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import one_hot

GOLDEN = [
    "edm_adm_cond",
    "edm_adm_cond_2heads",
    "edm_ddpmpp_cond",
    "edm_ddpmpp_gray",
    "edm_ddpmpp_uncond",
    "edm_ncsnpp_cond",
    "edm_ncsnpp_uncond",
    "edm_song_skip_uncond",
    "iddpm_adm_cond",
    "ve_ncsnpp_uncond",
    "vp_ddpmpp_uncond",
]
# Largest error measured, relative to the largest output: 1.3e-6.  The reference allows 2e-5.
TOLERANCE = 4e-6


def assert_near(value, expected, tolerance=TOLERANCE):
    value, expected = np.asarray(value.detach()), np.asarray(expected)
    assert value.shape == expected.shape and value.dtype == expected.dtype
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", GOLDEN)
def test_official_outputs(test_data, case):
    net, golden, config = golden_network(test_data("goldens/edm") / f"{case}.npz")
    tensors = {k: torch.from_numpy(v) for k, v in golden.items() if not k.startswith("sd/")}
    x, sigma, labels = tensors["x"], tensors["sigma"], tensors.get("class_labels")
    trace = []
    for name, module in net.named_modules():
        if name in {entry[0] for entry in config["trace"]}:
            module.register_forward_hook(lambda m, i, o, name=name: trace.append((name, o)))
    x.requires_grad_()
    out = net(x, sigma, labels)
    assert [name for name, _ in trace] == [entry[0] for entry in config["trace"]]
    for (name, value), (_, shape, mean, std, first) in zip(trace, config["trace"], strict=True):
        assert list(value.shape) == shape, name
        scale = float(value.detach().abs().max())
        assert abs(float(value.detach().double().mean()) - mean) < 1e-6 * scale, name
        assert abs(float(value.detach().double().std()) - std) < 1e-5 * scale, name
        np.testing.assert_allclose(
            value.detach().flatten()[:4], first, rtol=0, atol=TOLERANCE * scale, err_msg=name
        )
    assert_near(out, golden["out"])
    (gradient,) = torch.autograd.grad(out, x, tensors["vjp_v"])
    assert_near(gradient, golden["vjp_x"])
    with torch.no_grad():
        assert_near(net.coefficients(sigma).c_noise, golden["c_noise"], 1e-7)
        assert_near(net.coefficients(sigma).c_in.reshape(-1, 1, 1, 1) * x, golden["F_in"], 1e-6)
        assert_near(net.model(tensors["F_in"], tensors["c_noise"], labels), golden["F_out"])
        if "out_labels_none" in golden:
            assert_near(net(x, sigma), golden["out_labels_none"])
        if "out_with_augment_labels" in golden:
            augmented = net(x, sigma, labels, tensors["augment_labels_extra"])
            assert_near(augmented, golden["out_with_augment_labels"])
    assert [name for name, _ in net.named_parameters()] == config["param_names"]
    assert [name for name, _ in net.named_buffers()] == config["buffer_names"]
    assert sum(parameter.numel() for parameter in net.parameters()) == config["num_params"]
    assert net.sigma_min == config["sigma_min"]
    assert net.sigma_max == float(config["sigma_max"])


def test_official_iddpm_table(test_data):
    with np.load(test_data("goldens/edm") / "iddpm_adm_cond.npz", allow_pickle=False) as golden:
        np.testing.assert_allclose(iddpm_levels(dtype=np.float32), golden["sd/u"], rtol=1e-6)


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks_have_their_stated_size(name):
    released = RELEASED[name]
    with torch.device("meta"):
        net = build_network("EDMPrecond", released.kwargs)
    assert sum(parameter.numel() for parameter in net.parameters()) == released.parameters
    assert len(net.state_dict()) == released.tensors


def test_constructor_defaults():
    """train.py never passes these; the released files therefore rely on them."""
    with torch.device("meta"):
        song = build_network("EDMPrecond", RELEASED["edm-cifar10-32x32-uncond-vp"].kwargs).model
        adm = build_network("EDMPrecond", RELEASED["edm-imagenet-64x64-cond-adm"].kwargs).model
        default = build_network("EDMPrecond", {"img_resolution": 64, "img_channels": 3})
    assert sum("enc" in name and "block" in name for name in names(song)) == 3 * 4
    assert {name for name, block in song.enc.items() if getattr(block, "heads", 0)} == {
        f"16x16_block{index}" for index in range(4)
    }
    assert song.map_layer0.out_features == 4 * 128
    assert sum("enc" in name and "block" in name for name in names(adm)) == 4 * 3
    assert {
        name.split("_")[0] for name, block in adm.enc.items() if getattr(block, "heads", 0)
    } == {
        "32x32",
        "16x16",
        "8x8",
    }
    assert (
        type(default.model).__name__ == "DhariwalUNet" and default.model.map_noise.channels == 192
    )


def names(model):
    return [f"enc.{name}" for name in model.enc] + [f"dec.{name}" for name in model.dec]


# --- formulas ------------------------------------------------------------------------------------


def test_edm_coefficients():
    net = random_network("ddpmpp")
    for sigma in (0.002, 0.5, 80.0):
        c = net.coefficients(torch.tensor(sigma, dtype=torch.float64))
        assert float(c.c_skip) == pytest.approx(0.25 / (sigma**2 + 0.25), rel=1e-12)
        assert float(c.c_out) == pytest.approx(sigma * 0.5 / math.hypot(sigma, 0.5), rel=1e-12)
        assert float(c.c_in) == pytest.approx(1 / math.hypot(sigma, 0.5), rel=1e-12)
        assert float(c.c_noise) == pytest.approx(math.log(sigma) / 4, rel=1e-12)
    assert (net.sigma_min, net.sigma_max) == (0.0, math.inf)


def test_vp_coefficients_invert_sigma_of_t():
    net = random_network("vp")
    t = torch.linspace(0.01, 1, 20, dtype=torch.float64)
    sigma = (torch.exp(19.9 * t**2 / 2 + 0.1 * t) - 1).sqrt()
    c = net.coefficients(sigma)
    torch.testing.assert_close(c.c_noise, 999 * t, rtol=1e-10, atol=0)
    torch.testing.assert_close(c.c_in, 1 / (sigma**2 + 1).sqrt())
    assert torch.equal(c.c_out, -sigma) and torch.equal(c.c_skip, torch.ones_like(t))
    assert net.sigma_max == pytest.approx(float(sigma[-1]), rel=1e-5)


def test_ve_coefficients():
    net = random_network("ve")
    c = net.coefficients(torch.tensor([2.0, 2 * math.e]))
    torch.testing.assert_close(c.c_noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(c.c_in, torch.ones(2)) and torch.equal(
        c.c_out, torch.tensor([2, 2 * math.e])
    )
    assert (net.sigma_min, net.sigma_max) == (0.02, 100.0)


def test_iddpm_levels_and_rounding():
    net = random_network("iddpm")
    u = net.u
    assert len(u) == 1001 and float(u[-1]) == 0 and bool((u[1:] < u[:-1]).all())
    # abar of the levels is the cosine schedule (where the ratio is not clipped)
    j = np.arange(100, 1000)
    abar = np.sin(0.5 * np.pi * j / 1000 / 1.008) ** 2 / np.sin(0.5 * np.pi / 1.008) ** 2
    np.testing.assert_allclose(1 / (1 + u.double().numpy()[j] ** 2), abar, rtol=1e-3)
    levels = u[[0, 17, 500, 999]].double()
    assert torch.equal(net.round_sigma(levels * (1 + 1e-6)), levels)
    assert torch.equal(net.coefficients(levels).c_noise, torch.tensor([999.0, 982, 499, 0]))
    assert net.sigma_min == float(u[999]) and net.sigma_max == float(u[0])


def test_denoiser_is_the_preconditioned_network():
    net = random_network("ddpmpp")
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 3.0])
    c = [value.reshape(-1, 1, 1, 1) for value in net.coefficients(sigma)]
    expected = c[0] * x + c[1] * net.model(c[2] * x, sigma.log() / 4)
    torch.testing.assert_close(net(x, sigma), expected)


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_resampling_keeps_constants_and_halves_or_doubles(taps):
    x = torch.ones(1, 2, 8, 8)
    down = Conv2d(2, 2, 0, down=True, resample_filter=taps)(x)
    up = Conv2d(2, 2, 0, up=True, resample_filter=taps)(x)
    assert down.shape[-1] == 4 and up.shape[-1] == 16
    torch.testing.assert_close(down[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2))
    torch.testing.assert_close(up[..., 2:-2, 2:-2], torch.ones(1, 2, 12, 12))


def test_box_filter_shortcut_equals_the_filter():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for direction in ("up", "down"):
        layer = Conv2d(3, 3, 0, resample_filter=(1, 1), **{direction: True})
        short = layer(x)
        layer.box = False
        torch.testing.assert_close(short, layer(x), rtol=0, atol=1e-6)


def test_positional_embedding():
    out = PositionalEmbedding(8, endpoint=True)(torch.tensor([0.0, 2.0]))
    frequency = 10000.0 ** -(torch.arange(4) / 3)
    torch.testing.assert_close(out[1], torch.cat([(2 * frequency).cos(), (2 * frequency).sin()]))
    assert out[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_attention_by_hand_and_fused():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 4, 9, generator=generator).unbind(0)
    out = attention(q, k, v, fused=False)
    weights = torch.softmax((q[1, 0].T @ k[1, 0]) / 2.0, dim=1)
    torch.testing.assert_close(out[1, 0], v[1, 0] @ weights.T)
    torch.testing.assert_close(attention(q, k, v, fused=True), out)


# --- differentiation -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_forward_mode_equals_reverse_mode_and_differences(name):
    denoiser = random_denoiser(name)
    generator = torch.Generator().manual_seed(1)
    x, v, w = torch.randn(3, 2, 3, 8, 8, generator=generator).unbind(0)
    labels = one_hot([3, 7], 10) if denoiser.label_dim else None
    sigma = torch.tensor(0.7) if name != "iddpm" else denoiser.net.u[750].clone()

    def along(state, level):
        return denoiser(state, level, labels)

    out, tangent = torch.func.jvp(along, (x, sigma), (v, torch.tensor(0.3)))
    torch.testing.assert_close(out, along(x, sigma))
    state, level = x.clone().requires_grad_(), sigma.clone().requires_grad_()
    gradients = torch.autograd.grad(along(state, level), (state, level), w)
    reverse = float((gradients[0] * v).sum() + 0.3 * gradients[1])
    scale = float((tangent * w).abs().sum())
    assert float((tangent * w).sum()) == pytest.approx(reverse, abs=1e-5 * scale)
    # In float64 the central difference is sharp; the networks themselves are float32 outside tests.
    net = denoiser.net.double()

    def exact(step):
        s = (sigma.double() + 0.3 * step).expand(2)
        c = [value.reshape(-1, 1, 1, 1) for value in net.coefficients(s)]
        moved = x.double() + step * v.double()
        raw = net.model(c[2] * moved, c[3].flatten().double(), double_labels)[:, :3]
        return c[0] * moved + c[1] * raw

    double_labels = None if labels is None else labels.double()
    for module in net.modules():
        if hasattr(module, "fused_attention"):
            module._attend = DoubleAttention(module)
    difference = (exact(1e-5) - exact(-1e-5)) / 2e-5
    if name != "iddpm":  # whose c_noise is a step function computed in float32
        error = (tangent.double() - difference).abs().max()
        assert float(error) < 1e-3 * float(difference.abs().max())


class DoubleAttention:
    """The block's attention without its float32 logits."""

    def __init__(self, block):
        self.block = block

    def __call__(self, x):
        block = self.block
        parts = block.qkv(x).reshape(len(x), block.heads, -1, 3, x.shape[2] * x.shape[3])
        q, k, v = parts.unbind(3)
        weights = (q.transpose(2, 3) @ k / math.sqrt(k.shape[2])).softmax(-1)
        return (v @ weights.transpose(2, 3)).reshape(x.shape)


# --- the Denoiser protocol -----------------------------------------------------------------------


def no_class(name, n):
    """The zero row of a conditional network, None for an unconditional one."""
    classes = random_denoiser(name).label_dim
    return torch.zeros(n, classes) if classes else None


@pytest.mark.parametrize("name", SMALL)
def test_protocol(name):
    denoiser = random_denoiser(name)
    assert isinstance(denoiser, Denoiser)
    assert denoiser.shape == (3, 8, 8) and denoiser.sigma_data == 0.5
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = no_class(name, 3)
    out = denoiser(x, torch.tensor(0.7, dtype=torch.float64), labels)
    assert out.dtype == torch.float32 and out.shape == x.shape and bool(torch.isfinite(out).all())
    torch.testing.assert_close(denoiser(x, torch.full((3,), 0.7), labels), out)
    torch.testing.assert_close(denoiser(x.float(), 0.7, labels), out)
    one = no_class(name, 1)
    each = torch.cat([denoiser(x[i : i + 1], torch.tensor(0.7), one) for i in range(3)])
    torch.testing.assert_close(each, out, rtol=0, atol=2e-5 * float(out.abs().max()))


def test_labels_matter_and_missing_labels_are_a_zero_row():
    denoiser = random_denoiser("adm")
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    none = denoiser(x, 0.7, torch.zeros(2, 10))
    torch.testing.assert_close(denoiser.net(x, 0.7), none)  # as in the official code
    with pytest.raises(ArtRLError, match="class_labels are missing: the model has 10 classes"):
        denoiser(x, 0.7)  # behind the protocol nobody forgets labels unseen
    assert float((denoiser(x, 0.7, one_hot([1, 2], 10)) - none).abs().max()) > 1e-3


def test_bad_calls():
    denoiser = random_denoiser("adm")
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ArtRLError, match=r"x must be \(B, 3, 8, 8\)"):
        denoiser(torch.zeros(2, 3, 4, 4), 1.0)
    with pytest.raises(ArtRLError, match="sigma"):
        denoiser(x, torch.ones(3))
    with pytest.raises(ArtRLError, match=r"class_labels.*\(2, 10\)"):
        denoiser(x, 1.0, torch.zeros(2, 9))
    with pytest.raises(ArtRLError, match=r"class index must be in \[0, 10\)"):
        denoiser(x, 1.0, one_hot([3, 10], 10))
    with pytest.raises(ArtRLError, match="class_labels"):
        random_denoiser("ddpmpp")(x, 1.0, one_hot([3, 1], 10))


# Measured: fp16 up to 2e-3, bf16 up to 1.5e-2 of the largest output.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("case", ["edm_ddpmpp_cond", "edm_ncsnpp_uncond", "edm_adm_cond"])
def test_accuracy_cost_of_small_dtypes(test_data, case, dtype, tolerance):
    net, golden, _ = golden_network(test_data("goldens/edm") / f"{case}.npz")
    denoiser = optimise(EDMDenoiser(net, "golden"), dtype=dtype)
    tensors = {k: torch.from_numpy(v) for k, v in golden.items() if not k.startswith("sd/")}
    with torch.no_grad():
        out = denoiser(tensors["x"], tensors["sigma"], tensors.get("class_labels"))
    error = float((out - tensors["out"]).abs().max() / tensors["out"].abs().max())
    assert 1e-5 < error < tolerance


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"channels_last": True}, 1e-5),
        ({"fused_attention": True}, 1e-5),
        ({"dtype": torch.bfloat16}, 3e-2),
        ({"dtype": torch.float16}, 5e-3),
        ({"dtype": torch.bfloat16, "channels_last": True, "fused_attention": True}, 3e-2),
    ],
)
def test_settings_for_speed_keep_the_output(options, tolerance):
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("ddpmpp", "ncsnpp", "adm"):
        labels = no_class(name, 2)
        expected = random_denoiser(name)(x, 0.7, labels)
        out = optimise(random_denoiser(name), **options)(x, 0.7, labels)
        assert out.dtype == torch.float32
        error = float((out - expected).abs().max() / expected.abs().max())
        assert error < tolerance
        if "dtype" in options:
            assert error > 1e-5  # the setting did something


def test_compiled_network_keeps_the_output():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = no_class("ddpmpp_cond", 2)
    expected = random_denoiser("ddpmpp_cond")(x, 0.7, labels)
    compiled = optimise(random_denoiser("ddpmpp_cond"), compile="eager", channels_last=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, 0.7, labels), expected, rtol=0, atol=1e-5)


def test_bad_settings():
    with pytest.raises(ArtRLError, match="dtype"):
        optimise(random_denoiser("ddpmpp"), dtype=torch.float64)
    with pytest.raises(ArtRLError, match="cuda_graphs needs a CUDA device"):
        optimise(random_denoiser("ddpmpp"), cuda_graphs=True)
    assert isinstance(random_denoiser("ddpmpp"), EDMDenoiser)
