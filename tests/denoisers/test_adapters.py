"""`wrap` against the exact mixture in every convention, its guards, and models of other libraries."""

import numpy as np
import pytest
import torch
from torch import nn

import art_rl
from art_rl import ArtRLError
from art_rl.denoisers import GaussianMixture, is_exact
from art_rl.denoisers.adapters import check_denoiser, check_start
from art_rl.denoisers.adapters.times import AzulaTime
from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.schedules.handover.conversions import table_levels, table_sigmas

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.6, -0.4]], [0.2, 0.3])
TABLE = table_sigmas(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
LEVELS = [0.05, 0.7, 12.0, 150.0]


class Convention(nn.Module):
    """The mixture's posterior mean in somebody's convention; computes in float64."""

    def __init__(self, prediction, time, scale=1.0):
        super().__init__()
        self.register_buffer("anchor", torch.zeros(1, dtype=torch.float64))
        self.prediction, self.time, self.scale = prediction, time, scale
        self.eval()

    def forward(self, x, time, offset=None):
        if self.time == "vp":
            sigma = torch.as_tensor(table_levels(time.numpy(), TABLE))
            alpha = 1 / torch.sqrt(1 + sigma**2)
        elif self.time == "flow":
            t = time / self.scale
            sigma, alpha = t / (1 - t), 1 - t
        else:
            sigma, alpha = time, torch.ones_like(time)
        sigma, alpha = sigma[:, None], alpha[:, None]
        clean = x / alpha
        d = MIXTURE(clean, sigma[:, 0])
        noise = (clean - d) / sigma
        shift = 0.0 if offset is None else offset
        root = 1 / torch.sqrt(1 + sigma**2)
        return (
            shift
            + {
                "epsilon": noise,
                "v": root * noise - root * sigma * d,
                "x0": d,
                "denoised": d,
                "flow": noise - d,
            }[self.prediction]
        )


def noise(n=5):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("time", ["vp", "flow", "sigma"])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0", "flow", "denoised"])
def test_every_prediction_and_time_gives_the_exact_denoiser(prediction, time):
    model = Convention(prediction, time, 1000.0)
    D = art_rl.wrap(model, prediction=prediction, time=time, shape=(2,), time_scale=1000.0)
    for sigma in LEVELS:
        x = sigma * noise()
        level = torch.tensor(sigma, dtype=torch.float64)
        exact = MIXTURE(x, level)
        # epsilon's rounding is multiplied by sigma: 150 eps.
        torch.testing.assert_close(D(x, level), exact, rtol=0, atol=5e-12)
        levels = torch.full((5,), sigma, dtype=torch.float64)
        torch.testing.assert_close(D(x, levels), exact, rtol=0, atol=5e-12)
    mixed = torch.tensor([0.05, 0.7, 12.0, 150.0, 3.0], dtype=torch.float64)
    x = mixed[:, None] * noise()
    torch.testing.assert_close(D(x, mixed), MIXTURE(x, mixed), rtol=0, atol=5e-12)


def test_a_wrapped_model_knows_its_range_and_is_not_exact():
    D = art_rl.wrap(Convention("epsilon", "vp"), prediction="epsilon", time="vp", shape=(2,))
    assert D.sigma_max == pytest.approx(157.407, rel=1e-5)
    assert D.trained == (D.sigma_min, D.sigma_max)
    assert not is_exact(D) and is_exact(MIXTURE)
    assert D.sigma_data is None
    with pytest.raises(ArtRLError, match=r"= 200 lies above 157\.40.*table of 1000"):
        D(noise(), torch.tensor(200.0))
    with pytest.raises(ArtRLError, match="sigma must be positive"):
        D(noise(), torch.tensor(0.0))
    flow = art_rl.wrap(Convention("flow", "flow"), prediction="flow", time="flow", shape=(2,))
    assert flow.sigma_max == 999.0
    plain = art_rl.wrap(Convention("x0", "sigma"), prediction="x0", time="sigma", shape=(2,))
    assert plain.trained is None and plain.sigma_max is None


def test_digest_follows_parameters_conventions_and_fixed_arguments():
    def digest(model, **kwargs):
        settings = {"prediction": "x0", "time": "sigma", "shape": (2,)} | kwargs
        return art_rl.wrap(model, **settings).digest

    a, b = nn.Linear(2, 2).eval(), nn.Linear(2, 2).eval()
    assert digest(a) == digest(a)
    b.load_state_dict(a.state_dict())
    assert digest(a) == digest(b)
    with torch.no_grad():
        b.weight[0, 0] += 1e-6
    assert digest(a) != digest(b)
    assert digest(a) != digest(a, prediction="epsilon")
    assert digest(a, labels=torch.tensor([1])) != digest(a, labels=torch.tensor([2]))
    # Without parameters: what it answers.
    f = [lambda x, t: x / 2, lambda x, t: x / 2, lambda x, t: x / 3]
    assert digest(f[0]) == digest(f[1]) != digest(f[2])


def test_fixed_arguments_and_guidance():
    model = Convention("x0", "sigma")
    kwargs = {"prediction": "x0", "time": "sigma", "shape": (2,)}
    one, two = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 3.0]])
    plain = art_rl.wrap(model, **kwargs)
    shifted = art_rl.wrap(model, **kwargs, offset=one)
    guided = art_rl.wrap(model, **kwargs, offset=two, unconditional={"offset": one}, guidance=2.5)
    x, sigma = noise(), torch.tensor(1.0)
    torch.testing.assert_close(shifted(x, sigma), plain(x, sigma) + 1)
    torch.testing.assert_close(guided(x, sigma), plain(x, sigma) + 1 + 2.5 * 2)
    assert guided.calls == 10 and plain.calls == 10


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, r"needs prediction= one of epsilon.*and time= one of vp, flow, sigma"),
        ({"prediction": "eps", "time": "vp"}, "got 'eps' and 'vp'"),
        (
            {"prediction": "v", "time": "flow", "shape": (0,)},
            r"shape must be whole numbers.*\(0,\)",
        ),
        ({"prediction": "v", "time": "flow", "table": [0.9, 0.1]}, 'a table belongs to time="vp"'),
        ({"prediction": "v", "time": "vp", "table": [0.1, 0.9]}, "must decrease strictly"),
        ({"prediction": "v", "time": "vp", "sigma_max": 3.0}, "give it to learn"),
        ({"prediction": "v", "time": "sigma", "sigma_max": 3.0}, "belong together"),
        ({"prediction": "v", "time": "sigma", "sigma_max": 1.0, "sigma_min": 2.0}, "must be below"),
        ({"prediction": "v", "time": "sigma", "sigma_data": -1.0}, "sigma_data must be positive"),
        ({"prediction": "v", "time": "vp", "unconditional": {}}, "need guidance="),
        ({"prediction": "v", "time": "flow", "time_scale": 0.0}, "time_scale must be positive"),
    ],
)
def test_wrap_refuses(kwargs, message):
    with pytest.raises(ArtRLError, match=message):
        art_rl.wrap(Convention("v", "vp"), **kwargs)


def test_training_mode_is_refused():
    with pytest.raises(ArtRLError, match=r"training mode.*\.eval\(\)"):
        art_rl.wrap(nn.Linear(2, 2), prediction="x0", time="sigma", shape=(2,))
    network = nn.BatchNorm1d(2)
    with pytest.raises(ArtRLError, match=r"BatchNorm1d is in training mode"):
        art_rl.wrap(lambda x, t: network(x), prediction="x0", time="sigma", shape=(2,))


GLOBAL = nn.Linear(2, 2).double().eval()


def test_a_network_that_a_function_takes_from_its_module_is_found():
    """As in a notebook; its dtype and device were not the ones that the function was called with."""
    D = art_rl.wrap(lambda x, t: GLOBAL(x), prediction="x0", time="sigma", shape=(2,))
    assert D.dtype == torch.float64 and D(torch.ones(3, 2), 1.0).dtype == torch.float64


def ask(function, **kwargs):
    D = art_rl.wrap(function, prediction="x0", time="sigma", shape=(2,), **kwargs)
    return check_denoiser(D, 80.0, 0.002)


def test_check_accepts_a_good_model_and_an_exact_one():
    assert check_denoiser(MIXTURE, 80.0, 0.002) is MIXTURE
    ask(Convention("x0", "sigma"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, t: x[:, :1], r"shape \(3, 1\)"),
        (lambda x, t: x * float("nan"), r"6 values that are NaN or infinite at sigma = 80"),
        (lambda x, t: x.long(), "float dtype"),
        (lambda x, t: "x", "answer with a tensor, got str"),
        (lambda x, t: x * torch.rand(()), "different answers for the same call twice"),
        (lambda x, t: x * t.mean(), "a batch of different levels and each level alone"),
        (lambda x, t: x @ torch.ones(3, 3), "fails on x of shape"),
    ],
)
def test_check_names_what_is_wrong(function, message):
    with pytest.raises(ArtRLError, match=message):
        ask(function, sigma_data=0.5, sigma_max=80.0, sigma_min=0.002)


def test_a_conditional_denoiser_of_the_package_is_wrapped_for_one_class():
    """``class_labels=`` was dropped without a word, and `learn` asked for labels it could not be given."""
    network = UNetDenoiser(UNetConfig((1, 8, 8), (8,), attention=False, label_dim=3), 0.5).eval()
    with pytest.raises(ArtRLError, match=r"3 classes.*class_labels=one_hot.*\(1, 3\)"):
        check_denoiser(network, 80.0, 0.002)
    label = torch.tensor([[0.0, 1.0, 0.0]])
    D = art_rl.wrap(network, class_labels=label)
    x = 2 * torch.randn(4, 1, 8, 8)
    assert torch.equal(D(x, 2.0), network(x, torch.tensor(2.0), label.expand(4, 3)))
    assert check_denoiser(D, 80.0, 0.002) is D and D.trained == pytest.approx(
        (0.020, 4.5), rel=0.02
    )
    assert art_rl.wrap(network) is network and D.digest != network.digest
    with pytest.raises(ArtRLError, match="shape= is not needed here"):
        art_rl.wrap(network, shape=(1, 8, 8))


def test_check_needs_attributes_and_a_shape():
    with pytest.raises(ArtRLError, match="attribute 'shape'"):
        check_denoiser(lambda x, sigma: x, 80.0, 0.002)
    D = art_rl.wrap(Convention("x0", "sigma"), prediction="x0", time="sigma")
    with pytest.raises(ArtRLError, match="shape of one sample is not known"):
        check_denoiser(D, 80.0, 0.002)
    with pytest.raises(ArtRLError, match="needs sigma_min > 0"):
        check_denoiser(MIXTURE, 80.0, 0.0)


def test_starting_states_must_be_scaled():
    x = 80 * noise(64)
    assert check_start(x.float(), MIXTURE, 80.0).dtype == torch.float64
    for bad, message in (
        (noise(64), r"root mean square of .* have about 80.*sigma_max \* noise"),
        (x[:4], r"B >= 8, got \(4, 2\)"),
        (x[:, :1], r"got \(64, 1\)"),
        (x / 0, "must be finite"),
        ([1.0], "got list"),
    ):
        with pytest.raises(ArtRLError, match=message):
            check_start(bad, MIXTURE, 80.0)


# Models of the libraries themselves.


def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers (extra [interop]) is not installed")


@pytest.mark.parametrize(
    ("settings", "prediction"),
    [
        ({"prediction_type": "epsilon"}, "epsilon"),
        ({"prediction_type": "v_prediction"}, "v"),
        ({"prediction_type": "sample"}, "x0"),
        ({"prediction_type": "flow_prediction", "use_flow_sigmas": True}, "flow"),
    ],
)
def test_predictions_agree_with_diffusers_own_conversion(settings, prediction):
    scheduler = diffusers().DPMSolverMultistepScheduler(**settings)
    flow = prediction == "flow"
    sigma, x, answer = 0.8, noise(), noise().flip(0)
    level = sigma / (1 + sigma) if flow else sigma
    alpha = 1 - level if flow else 1 / (1 + sigma**2) ** 0.5
    scheduler.sigmas, scheduler._step_index = torch.tensor([level], dtype=torch.float64), 0
    theirs = scheduler.convert_model_output(answer, sample=alpha * x)
    D = art_rl.wrap(lambda x, timestep: answer.float(), scheduler=scheduler, shape=(2,))
    torch.testing.assert_close(D(x, torch.tensor(sigma)), theirs.float(), rtol=1e-6, atol=1e-6)


def test_a_diffusers_unet_in_one_line():
    library = diffusers()
    torch.manual_seed(0)
    unet = library.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4, layers_per_block=1,
    ).eval()  # fmt: skip
    D = art_rl.wrap(unet, scheduler=library.EulerDiscreteScheduler())
    assert D.shape == (1, 8, 8)
    check_denoiser(D, D.sigma_max, D.sigma_min)
    # The scheduler's own Euler step, from the model's own call, is ours.
    scheduler = library.EulerDiscreteScheduler()
    scheduler.set_timesteps(5)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * scheduler.sigmas[0]
    t = scheduler.timesteps[0]
    with torch.no_grad():
        theirs = scheduler.step(unet(scheduler.scale_model_input(x, t), t).sample, t, x)
    sigma = scheduler.sigmas[0].double()
    ours = D(x.double(), sigma)
    torch.testing.assert_close(ours.float(), theirs.pred_original_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_preconditioning_agrees_with_diffusers(prediction):
    scheduler = diffusers().EDMEulerScheduler(prediction_type=prediction)
    x, sigma = noise().float(), torch.tensor(1.7)
    theirs = scheduler.precondition_outputs(
        x, torch.sin(scheduler.precondition_inputs(x, sigma)), sigma
    )
    D = art_rl.wrap(lambda x, timestep: torch.sin(x), scheduler=scheduler, shape=(2,))
    torch.testing.assert_close(D(x, sigma), theirs, rtol=1e-6, atol=1e-6)
    assert D.trained is None and D.sigma_max == 80.0


def test_k_diffusion_models_are_taken_as_they_are():
    reason = "k-diffusion (extra [interop]) is not installed"
    k = pytest.importorskip("k_diffusion", reason=reason, exc_type=ImportError)

    class Inner(nn.Module):
        def forward(self, x, sigma):
            return torch.tanh(x) * torch.cos(sigma)[:, None]

    model = k.layers.Denoiser(Inner(), sigma_data=0.5).eval()
    D = art_rl.wrap(model, shape=(2,))
    x, sigma = noise().float(), torch.full((5,), 1.3)
    assert torch.equal(D(x, sigma), model(x, sigma))
    assert D.sigma_data is None and D.trained is None
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    discrete = k.external.DiscreteEpsDDPMDenoiser(Inner(), alphas, quantize=False).eval()
    D = art_rl.wrap(discrete, shape=(2,))
    assert D.trained == (D.sigma_min, D.sigma_max) and D.sigma_max == pytest.approx(157.4, rel=1e-3)
    # The same network wrapped from its parts: the table's time and epsilon.
    own = art_rl.wrap(
        Inner().eval(), prediction="epsilon", time="vp", shape=(2,), table=alphas.double()
    )
    torch.testing.assert_close(own(x, sigma), D(x, sigma), rtol=1e-4, atol=1e-4)


def test_a_time_is_found_for_every_level_of_a_noise_schedule():
    """Without azula, so that it runs everywhere: azula's rectified flow by hand."""
    time = AzulaTime(lambda t: (1 - 0.999 * t, 0.001 + 0.999 * t), torch.tensor)
    levels = np.geomspace(*time.range, 9)[1:-1]
    alpha, t = time(levels)
    np.testing.assert_allclose((0.001 + 0.999 * t) / alpha, levels, rtol=1e-12)


def test_azula_times_are_found_for_every_noise_schedule():
    reason = "azula (extra [interop]) is not installed"
    noise_module = pytest.importorskip("azula.noise", reason=reason)
    denoise = pytest.importorskip("azula.denoise", reason=reason)

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("one", torch.ones(1, dtype=torch.float64))

        def forward(self, x, log_sigma):
            return torch.tanh(x) * torch.cos(log_sigma).reshape(-1, 1)

    levels = np.geomspace(0.002, 50.0, 40)
    for name in (
        "VESchedule",
        "VPSchedule",
        "CosineSchedule",
        "RectifiedSchedule",
        "DecaySchedule",
    ):
        schedule = getattr(noise_module, name)()
        D = art_rl.wrap(denoise.KarrasDenoiser(Backbone(), schedule).eval(), shape=(2,))
        alpha, t = D.time(levels)
        back_alpha, back_sigma = schedule(torch.tensor(t))
        # VP's sigma_t^2 = 1 - alpha^2 + 1e-6 cancels to 1e-16 / sigma^2 at small levels.
        assert np.abs((back_sigma / back_alpha).numpy() / levels - 1).max() < 1e-10, name
        np.testing.assert_allclose(alpha, back_alpha.numpy(), rtol=0, atol=0)
        check_denoiser(D, 50.0, 0.002)
