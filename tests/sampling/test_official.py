"""The official samplers: reference images, discretisations, churn, independence of the batch."""

import json
import math

import numpy as np
import pytest
import torch
from edm_networks import golden_network, random_denoiser

from art_rl.denoisers import CountingDenoiser, Gaussian
from art_rl.denoisers.edm import EDMDenoiser
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise, to_uint8
from art_rl.flow.solvers import nfe, solve
from art_rl.sampling.official import (
    DEFAULT_RANGES,
    EPSILON_S,
    LINEAR_TIME,
    VE_TIME,
    ablation_sample,
    discretise,
    edm_sample,
    sigma_range,
    vp_between,
    vp_time,
)
from art_rl.schedules.schedule import Schedule

SAMPLERS = [
    "ablation_euler5_edm",
    "ablation_euler5_iddpm",
    "ablation_euler5_iddpmnet_iddpm",
    "ablation_euler5_ve",
    "ablation_euler5_venet_ve_ve_none",
    "ablation_euler5_vp",
    "ablation_euler5_vp_vp_vp",
    "ablation_euler5_vpnet_vp_vp_vp",
    "ablation_heun5_edm_alpha",
    "ablation_heun5_edm_linear_none",
    "ablation_heun5_ve_ve_none",
    "ablation_heun5_vp_vp_vp",
    "edm_churn6_uncond",
    "edm_heun5_adm",
    "edm_heun5_cond",
    "edm_heun5_on_iddpm",
    "edm_heun5_on_vp",
    "edm_heun5_uncond",
]
# Largest error measured, relative to the largest pixel: 3.6e-6 (the network's float32 rounding,
# amplified by the last steps).
TOLERANCE = 1e-5


class Recorder:
    """A denoiser that remembers the levels and states it was called with."""

    def __init__(self, denoiser):
        self.denoiser, self.levels, self.states = denoiser, [], []

    def __getattr__(self, name):
        return getattr(self.denoiser, name)

    def __call__(self, x, sigma, class_labels=None):
        self.levels.append(float(sigma))
        self.states.append(x)
        return self.denoiser(x, sigma, class_labels)


@pytest.mark.parametrize("case", SAMPLERS)
def test_official_images(test_data, case):
    folder = test_data("goldens/edm")
    with np.load(folder / f"sampler_{case}.npz", allow_pickle=False) as archive:
        golden = {name: archive[name] for name in archive.files}
    config = json.loads(str(golden["config_json"]))
    net, _, _ = golden_network(folder / f"{config['net_case']}.npz")
    denoiser = Recorder(EDMDenoiser(net, "golden"))
    noise = SeedNoise(golden["seeds"].tolist(), denoiser.shape, denoiser.label_dim)
    np.testing.assert_array_equal(noise.latents.numpy(), golden["latents"])
    if denoiser.label_dim:
        np.testing.assert_array_equal(noise.class_labels.numpy(), golden["class_labels"])
    kwargs = {
        "discretisation" if name == "discretization" else name: value
        for name, value in config["kwargs"].items()
    }
    K = kwargs.pop("num_steps")
    sample = edm_sample if config["sampler"] == "edm_sampler" else ablation_sample
    images = sample(denoiser, noise, K, **kwargs)
    assert images.dtype == torch.float64
    assert len(denoiser.levels) == config["nfe"] == nfe(kwargs.get("solver", "heun"), K)
    np.testing.assert_allclose(denoiser.levels, golden["net_sigma_calls"], rtol=1e-14)
    scale = np.abs(golden["second_net_x"]).max()
    np.testing.assert_allclose(
        denoiser.states[1], golden["second_net_x"], rtol=0, atol=TOLERANCE * scale
    )
    scale = np.abs(golden["images"]).max()
    np.testing.assert_allclose(images, golden["images"], rtol=0, atol=TOLERANCE * scale)
    # uint8 truncates: a pixel may differ only where the reference lies on an edge within rounding.
    # (On the machine these tests were written on none does.)
    grey = golden["images"] * 127.5 + 128
    on_edge = np.abs(grey - np.rint(grey)) < 127.5 * TOLERANCE * scale
    differs = to_uint8(images).numpy() != golden["images_uint8"]
    assert not (differs & ~on_edge).any() and differs.sum() <= 3
    np.testing.assert_array_equal(
        to_uint8(torch.from_numpy(golden["images"])).numpy(), golden["images_uint8"]
    )
    if "used_sigma_min" in golden:
        used = sigma_range(kwargs.get("discretisation", "edm"), denoiser)
        expected = float(golden["used_sigma_min"]), float(golden["used_sigma_max"])
        assert used == pytest.approx(expected, rel=1e-14)


def test_official_schedules(test_data):
    clocks = {"vp": vp_between(*DEFAULT_RANGES["vp"]), "ve": VE_TIME, "linear": LINEAR_TIME}
    with np.load(test_data("goldens/edm") / "schedules.npz", allow_pickle=False) as golden:
        assert len(golden.files) > 80
        for name in golden.files:
            *parts, K = name.split("_")
            levels = discretise("edm" if parts == ["edm"] else parts[1], int(K))
            if parts[-1] != "sigma":
                clock = clocks["linear" if parts == ["edm"] else parts[2]]
                levels = np.append(clock.time(torch.from_numpy(levels)).numpy(), 0.0)
            np.testing.assert_allclose(levels, golden[name], rtol=1e-13, atol=1e-16, err_msg=name)


# --- discretisations -----------------------------------------------------------------------------


def test_edm_levels():
    levels = discretise("edm", 18)
    assert levels[0] == pytest.approx(80, rel=1e-14) and levels[-1] == pytest.approx(
        0.002, rel=1e-12
    )
    np.testing.assert_allclose(np.diff(levels ** (1 / 7), 2), 0, atol=1e-14)
    np.testing.assert_allclose(np.diff(discretise("edm", 9, rho=1.0), 2), 0, atol=1e-12)


def test_ve_levels_are_geometric():
    levels = discretise("ve", 12)
    np.testing.assert_allclose(np.diff(np.log(levels), 2), 0, atol=1e-13)
    assert (levels[0], levels[-1]) == pytest.approx((100, 0.02), rel=1e-12)


def test_vp_levels_are_equidistant_in_time():
    low, high = DEFAULT_RANGES["vp"]
    expected = [math.sqrt(math.expm1(19.9 * t**2 / 2 + 0.1 * t)) for t in (EPSILON_S, 1.0)]
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-10)
    levels = discretise("vp", 7)
    time = vp_time().time(torch.from_numpy(levels))
    np.testing.assert_allclose(time, np.linspace(1, EPSILON_S, 7), rtol=1e-9)


def test_vp_betas_are_fitted_to_the_limits():
    clock = vp_between(0.02, 40.0)
    ends = clock.sigma(torch.tensor([EPSILON_S, 1.0], dtype=torch.float64))
    np.testing.assert_allclose(ends, [0.02, 40.0], rtol=1e-10)


@pytest.mark.parametrize("clock", [vp_time(), VE_TIME, LINEAR_TIME])
def test_clocks_invert_and_differentiate(clock):
    t = torch.linspace(0.05, 0.9, 9, dtype=torch.float64, requires_grad=True)
    sigma = clock.sigma(t)
    torch.testing.assert_close(clock.time(sigma), t, rtol=1e-10, atol=0)
    (slope,) = torch.autograd.grad(sigma.sum() + 0 * t.sum(), t)
    torch.testing.assert_close(clock.slope(t), slope, rtol=1e-10, atol=0)


def test_iddpm_levels_are_levels_of_the_table():
    from art_rl.denoisers.edm.preconditioning import iddpm_levels

    levels = discretise("iddpm", 10)
    assert set(levels) <= set(iddpm_levels()) and (np.diff(levels) < 0).all()
    assert 0.002 <= levels[-1] < levels[0] <= 81


def test_limits_of_the_network_are_kept():
    denoiser = random_denoiser("ve")
    assert sigma_range("edm", denoiser) == (0.02, 80.0)
    assert sigma_range("edm", denoiser, sigma_max=500) == (0.02, 100.0)
    assert discretise("edm", 5, denoiser)[-1] == pytest.approx(0.02)
    with pytest.raises(ArtRLError, match="sigma_m"):
        sigma_range("edm", denoiser, sigma_min=200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ddim", 5, {}), "discretisation must be one of"),
        (("edm", 1, {}), "K must be at least 2"),
        (("edm", 5, {"rho": 0.0}), "rho"),
        (("edm", 5, {"sigma_min": 0.0}), "sigma_min"),
        (("edm", 5, {"sigma_min": math.nan}), "sigma_min"),
        (("iddpm", 5, {"sigma_min": 20.001, "sigma_max": 20.002}), "no level"),
    ],
)
def test_bad_discretisations(arguments, message):
    name, K, kwargs = arguments
    with pytest.raises(ArtRLError, match=message):
        discretise(name, K, **kwargs)


# --- samplers ------------------------------------------------------------------------------------


def test_edm_sample_is_heun_on_the_edm_levels():
    denoiser = CountingDenoiser(random_denoiser("ddpmpp"))
    noise = SeedNoise([0, 1], (3, 8, 8))
    for solver in ("heun", "euler"):
        denoiser.calls = 0
        images = edm_sample(denoiser, noise, 5, solver=solver)
        assert denoiser.calls == nfe(solver, 5)
        levels = np.append(discretise("edm", 5), 0.0)
        start = noise.latents.double() * levels[0]
        expected = solve(denoiser, start, Schedule(tuple(levels)), solver)
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", ["heun", "euler"])
def test_the_general_sampler_contains_the_special_one(solver):
    denoiser = random_denoiser("ddpmpp")
    churn = {"S_churn": 10.0, "S_min": 0.1, "S_max": 50.0, "S_noise": 1.01}
    for extra in ({}, churn):
        one = edm_sample(denoiser, SeedNoise([0, 1], (3, 8, 8)), 5, solver=solver, **extra)
        two = ablation_sample(denoiser, SeedNoise([0, 1], (3, 8, 8)), 5, solver=solver, **extra)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize(
    ("discretisation", "schedule", "scaling"),
    [("vp", "vp", "vp"), ("ve", "ve", "none"), ("iddpm", "linear", "none"), ("edm", "vp", "vp")],
)
def test_every_form_converges_to_the_exact_flow(discretisation, schedule, scaling):
    """Gaussian data: the flow is known; Heun's error falls with K, at K = 256 it is small."""
    gaussian = Gaussian(0.5, dim=4, mean=0.3)
    noise = SeedNoise(range(8), (4,))
    errors = []
    for K in (64, 256):
        x = ablation_sample(
            gaussian, noise, K, discretisation=discretisation, schedule=schedule, scaling=scaling
        )
        _, high = sigma_range(discretisation)
        levels = discretise(discretisation, K)
        expected = gaussian.flow(noise.latents.double() * levels[0], levels[0], 0.0)
        errors.append(float((x - expected).abs().max()))
    assert errors[1] < errors[0] / 4 and errors[1] < 5e-3 and high >= levels[0]


def test_second_order_for_every_alpha():
    gaussian = Gaussian(0.5, dim=4)
    noise = SeedNoise(range(4), (4,))
    expected = gaussian.flow(noise.latents.double() * 80.0, 80.0, 0.0)
    for alpha in (0.75, 1.0):  # alpha = 0.5 happens to be of order 3 on a Gaussian
        errors = []
        for K in (64, 128, 256):
            x = ablation_sample(gaussian, noise, K, alpha=alpha, sigma_min=1e-4)
            errors.append(float((x - expected).abs().max()))
        orders = np.log2(np.array(errors[:-1]) / errors[1:])
        assert np.allclose(orders, 2, atol=0.1), (alpha, errors)


def test_churn_keeps_the_marginal_variance():
    """With noise added and removed the samples of a Gaussian still have its variance."""
    gaussian = Gaussian(0.5, dim=64)
    noise = SeedNoise(range(400), (64,))
    x = edm_sample(gaussian, noise, 64, S_churn=20.0)
    n = x.numel()
    assert float(x.var()) == pytest.approx(0.25, abs=5 * 0.25 * math.sqrt(2 / n) + 2e-3)
    still = edm_sample(gaussian, SeedNoise(range(400), (64,)), 64)
    assert float((x - still).abs().mean()) > 0.1  # the noise was used


def test_images_do_not_depend_on_the_batch():
    denoiser = random_denoiser("ddpmpp_cond")
    churn = {"S_churn": 10.0}

    def images(seeds):
        noise = SeedNoise(seeds, denoiser.shape, denoiser.label_dim)
        return edm_sample(denoiser, noise, 4, **churn)

    whole = images([0, 1, 2, 3, 4])
    parts = torch.cat([images([0]), images([1, 2, 3]), images([4])])
    scale = float(whole.abs().max())
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-4 * scale)


def test_levels_the_network_knows_are_used():
    denoiser = Recorder(random_denoiser("iddpm"))
    noise = SeedNoise([0], denoiser.shape, denoiser.label_dim)
    edm_sample(denoiser, noise, 6, S_churn=5.0)
    table = set(denoiser.net.u.double().tolist())
    assert set(denoiser.levels) <= table and len(denoiser.levels) == 11


def test_fixed_classes_and_callback():
    denoiser = random_denoiser("adm")
    noise = SeedNoise([0, 1], denoiser.shape, denoiser.label_dim)
    seen = []
    drawn = edm_sample(denoiser, noise, 3, callback=lambda k, s, x: seen.append((k, s, x)))
    assert [k for k, _, _ in seen] == [0, 1, 2, 3] and seen[-1][1] == 0.0
    assert torch.equal(seen[-1][2], drawn)
    fixed = noise.class_labels.roll(1, 1)
    assert not torch.allclose(edm_sample(denoiser, noise, 3, class_labels=fixed), drawn)


def test_bad_sampler_arguments():
    denoiser = random_denoiser("adm")
    noise = SeedNoise([0], denoiser.shape)
    with pytest.raises(ArtRLError, match="10 classes"):
        edm_sample(denoiser, noise, 3)
    with pytest.raises(ArtRLError, match="solver"):
        edm_sample(denoiser, noise, 3, solver="rk4")
    for name, value in (("schedule", "cosine"), ("scaling", "ve"), ("solver", "x"), ("alpha", 0.0)):
        with pytest.raises(ArtRLError, match=name):
            ablation_sample(denoiser, noise, 3, **{name: value})
