"""Levels in other libraries' conventions: exact, read back, or an error that names level and cause."""

import copy
import inspect
import json
import warnings

import numpy as np
import pytest
import torch

import art_rl
from art_rl import ArtRLError, Schedule
from art_rl.denoisers import GaussianMixture
from art_rl.flow.solvers import solve
from art_rl.schedules.handover.conversions import reshift, table_levels, table_sigmas, unshift

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.6, -0.4]], [0.2, 0.3])
LIST = art_rl.schedule("gaussian", K=10, sigma_max=80.0, sigma_data=0.5)
HIGH = art_rl.schedule("edm", K=10, sigma_max=20.0, sigma_min=0.05)
ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def noise(n=64, dtype=torch.float64):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(
        dtype
    )


def test_importing_and_the_schedule_function_need_no_torch():
    import subprocess
    import sys

    code = (
        "import sys, art_rl; assert 'numpy' not in sys.modules;"
        "s = art_rl.schedule('edm', K=3); s.to('flow'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_schedule_by_name():
    assert art_rl.schedule("edm", K=3).sigmas == pytest.approx((80.0, 2.515219, 0.002, 0.0))
    assert art_rl.schedule("edm", 3, rho=3).sigmas != art_rl.schedule("edm", 3).sigmas
    for call, message in (
        (lambda: art_rl.schedule("emd", K=3), "unknown baseline schedule 'emd'"),
        (lambda: art_rl.schedule("art_rl_endpoint", K=3), r"needs a model: art_rl\.learn\(D"),
        (lambda: art_rl.schedule("edm", K=0), "K .*at least 1"),
        (lambda: art_rl.schedule("uniform", K=3, rho=3), "unexpected keyword"),
        (lambda: art_rl.schedule("edm", K=3, sigma_max=0.001), "noise levels must satisfy"),
    ):
        with pytest.raises(ArtRLError, match=message):
            call()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = art_rl.nothing
    assert set(art_rl.__all__) <= set(dir(art_rl))


def test_to_sigmas():
    assert np.array_equal(LIST.to("sigmas"), LIST.numpy())
    x = noise(2, torch.float32)
    levels = LIST.to("sigmas", like=x)
    assert levels.dtype == torch.float32 and levels[-1] == 0 and len(levels) == 11
    close = Schedule((1.0, 1.0 - 1e-9, 0.0))
    with pytest.raises(ArtRLError, match=r"levels 0 and 1 are one number in torch.float32"):
        close.to("sigmas", like=x)
    for call, message in (
        (
            lambda: LIST.to("sigma"),
            "kind must be one of sigmas, timesteps, flow, azula, got 'sigma'",
        ),
        (lambda: LIST.to("sigmas", dtype=1), "unexpected keyword argument 'dtype'"),
        (lambda: LIST.to("sigmas", like=3.0), "like must be a torch tensor"),
    ):
        with pytest.raises(ArtRLError, match=message):
            call()


def test_to_timesteps_and_back():
    table = table_sigmas(ALPHAS)
    times = LIST.resample(5).to("timesteps", table=ALPHAS)
    assert np.abs(table_levels(times, table) / LIST.resample(5).numpy()[:-1] - 1).max() < 1e-12
    whole = HIGH.to("timesteps", table=ALPHAS, rounded=True)
    assert whole.dtype == np.int64 and len(whole) == 10 and (np.diff(whole) < 0).all()
    config = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    assert np.array_equal(
        HIGH.to("timesteps", scheduler=config), HIGH.to("timesteps", table=ALPHAS)
    )
    low = Schedule((1.0, 0.001, 0.0))
    for call, message in (
        (lambda: low.to("timesteps", table=ALPHAS), r"sigmas\[1\] = 0.001 lies below 0.0100"),
        (lambda: LIST.to("timesteps", table=ALPHAS[:800]), r"sigmas\[0\] = 80 lies above"),
        (lambda: LIST.to("timesteps"), "give scheduler=.*or table="),
        (lambda: HIGH.to("timesteps", scheduler={"shift": 3}), "has no 'beta_start'"),
        (
            lambda: Schedule((1.0, 0.999, 0.0)).to("timesteps", table=ALPHAS, rounded=True),
            "round to",
        ),
        (lambda: HIGH.to("timesteps", table=[0.5]), "at least 2 entries"),
    ):
        with pytest.raises(ArtRLError, match=message):
            call()


@pytest.mark.parametrize("last", [0.0, 6e-8])
def test_a_table_of_zero_terminal_snr_ends_one_step_earlier(last):
    """EulerDiscrete's stand-in for 0 may be above the entry before it, and the table was refused."""
    np.testing.assert_array_equal(
        table_sigmas([0.9, 0.5, 4e-9, last]), table_sigmas([0.9, 0.5, 4e-9])
    )
    with pytest.raises(ArtRLError, match="decrease strictly"):
        table_sigmas([0.9, 0.5, 0.6])


def test_to_flow_inverts_the_shift():
    plain = LIST.to("flow")
    assert len(plain) == 10
    np.testing.assert_allclose(plain / (1 - plain), LIST.numpy()[:-1], rtol=1e-12)
    # Esser et al. 2024, eq. 23, by hand: t = 0.75 under shift 3 comes from 0.5.
    assert unshift(np.array(0.75), 3.0) == pytest.approx(0.5, abs=1e-15)
    assert reshift(np.array(0.5), 3.0) == pytest.approx(0.75, abs=1e-15)
    for options in ({"shift": 3.0}, {"mu": 1.15}):
        np.testing.assert_allclose(
            reshift(LIST.to("flow", **options), **options), plain, rtol=1e-14
        )
    with pytest.raises(ArtRLError, match="shift must be positive"):
        LIST.to("flow", shift=0.0)
    with pytest.raises(ArtRLError, match=r"mu .*must be finite"):
        LIST.to("flow", mu=float("nan"))


# diffusers

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
DDPM = {"beta_start": 1e-4, "beta_end": 0.02}


def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers (extra [interop]) is not installed")


def levels_of(scheduler):
    """Noise over signal at every level of a scheduler, doubled entries removed."""
    levels = np.array(scheduler.sigmas.tolist())
    if "Heun" in type(scheduler).__name__:
        levels = np.append(levels[:1], levels[1::2])
    flow = "Flow" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas")
    return levels / (1 - levels) if flow else levels


def sample(scheduler, sigma_max, dtype=torch.float32):
    """The library's own loop with the exact mixture behind its conventions."""
    name, config = type(scheduler).__name__, scheduler.config
    flow = "Flow" in name or config.get("use_flow_sigmas")
    multistep = name.startswith(("DPM", "UniPC"))
    x = noise(dtype=torch.float32) * sigma_max
    if flow:
        x = x / (1 + sigma_max)
    elif multistep:
        x = x / (1 + sigma_max**2) ** 0.5
    for k, t in enumerate(scheduler.timesteps):
        index = k if scheduler.step_index is None else scheduler.step_index
        level = scheduler.sigmas[index].double()
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        if "EDM" in name:
            sigma, alpha = level, 1 / (level**2 + config["sigma_data"] ** 2) ** 0.5
        elif flow:
            sigma, alpha = level / (1 - level), 1 - level
        else:
            sigma, alpha = level, 1 / (1 + level**2) ** 0.5
        clean = seen.double() / alpha
        d = MIXTURE(clean, sigma)
        if "EDM" in name:
            s = config["sigma_data"]
            skip = s**2 / (sigma**2 + s**2)
            answer = (d - skip * clean) * (sigma**2 + s**2) ** 0.5 / (sigma * s)
        else:
            answer = (clean - d) / sigma
            answer = answer - d if flow else answer
        x = scheduler.step(answer.float(), t, x).prev_sample
    return x


EXACT = [
    ("EulerDiscreteScheduler", {}, "euler"),
    (
        "EulerDiscreteScheduler",
        {"use_karras_sigmas": True, "timestep_spacing": "trailing"},
        "euler",
    ),
    ("HeunDiscreteScheduler", DDPM, "heun"),
    ("EulerAncestralDiscreteScheduler", {}, None),
    ("DPMSolverMultistepScheduler", {"solver_order": 1}, "euler"),
    ("DPMSolverMultistepScheduler", {}, None),
    ("DPMSolverMultistepScheduler", FLOW, None),
    ("UniPCMultistepScheduler", {}, None),
    ("UniPCMultistepScheduler", FLOW, None),
    ("EDMEulerScheduler", {}, "euler"),
    ("EDMDPMSolverMultistepScheduler", {}, None),
    ("FlowMatchEulerDiscreteScheduler", {}, "euler"),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, "euler"),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, "euler"),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 2.0}, None),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "settings", "solver"), EXACT)
def test_levels_arrive_and_samples_are_ours(name, settings, solver):
    scheduler = getattr(diffusers(), name)(**settings)
    assert LIST.apply(scheduler) is scheduler
    flow = "Flow" in name or settings is FLOW
    wanted = LIST.numpy()
    # A flow scheduler holds t: 6e-8 of it is 6e-8 (1 + sigma) of sigma.
    scale = 1 + wanted if flow else 1.0
    off = np.abs(levels_of(scheduler) - wanted)[:-1] / wanted[:-1]
    assert (off / (scale[:-1] if flow else 1.0)).max() < 1e-6
    assert levels_of(scheduler)[-1] == 0
    end = sample(scheduler, LIST.sigma_max)
    assert torch.isfinite(end).all()
    if solver is not None:
        ours = solve(MIXTURE, noise() * LIST.sigma_max, LIST, solver)
        # float32 through ten steps from 80; measured 2e-6 to 4e-5.
        assert float((end - ours).square().mean().sqrt()) < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_pipelines_may_call_set_timesteps_and_copies_are_their_own():
    scheduler = LIST.apply(diffusers().FlowMatchEulerDiscreteScheduler(shift=3.0))
    before = scheduler.sigmas.clone()
    assert {"sigmas", "mu"} <= set(inspect.signature(scheduler.set_timesteps).parameters)
    for call in (
        lambda s: s.set_timesteps(10, device="cpu"),
        lambda s: s.set_timesteps(num_inference_steps=10),
        lambda s: s.set_timesteps(sigmas=np.linspace(1, 0.1, 10), mu=1.15),
    ):
        call(scheduler)
        assert torch.equal(scheduler.sigmas, before) and scheduler.begin_index == 0
    with pytest.raises(ArtRLError, match=r"holds a schedule of 10 steps, but 20 were asked for"):
        scheduler.set_timesteps(20)
    other = copy.deepcopy(scheduler)
    other.sigmas = other.sigmas * 0
    other.set_timesteps(10)
    assert torch.equal(other.sigmas, before)
    # Another schedule replaces the first; a scheduler that is not pinned forgets.
    LIST.resample(5).apply(scheduler)
    scheduler.set_timesteps(5)
    assert len(scheduler.timesteps) == 5
    free = LIST.apply(diffusers().EulerDiscreteScheduler(), pin=False)
    free.set_timesteps(7)
    assert len(free.timesteps) == 7


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("HeunDiscreteScheduler", {}, r"sigmas\[0\] = 80 lies above 25\.14.*HeunDiscreteScheduler"),
        (
            "EulerDiscreteScheduler",
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
            r"sigmas\[0\] = 80 lies above 14\.6",
        ),
        ("DDIMScheduler", {}, "cannot be given exact levels.*use EulerDiscreteScheduler"),
        ("KDPM2DiscreteScheduler", {}, "KDPM2DiscreteScheduler cannot be given exact levels"),
        ("EDMEulerScheduler", {"sigma_max": 40.0}, r"starts at 80, but .* sigma_max = 40"),
        ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "invert_sigmas"),
        (
            "DPMSolverMultistepScheduler",
            {"final_sigmas_type": "sigma_min"},
            "final_sigmas_type must be 'zero'",
        ),
        ("UniPCMultistepScheduler", {"lower_order_final": False}, "lower_order_final must be True"),
    ],
)
def test_what_cannot_be_exact_is_an_error(name, settings, message):
    scheduler = getattr(diffusers(), name)(**settings)
    with pytest.raises(ArtRLError, match=message):
        LIST.apply(scheduler)


def test_apply_needs_a_scheduler():
    with pytest.raises(ArtRLError, match="needs a diffusers scheduler, got list"):
        LIST.apply([1.0, 0.0])


def test_warnings_of_another_solver_and_of_levels_below_the_table():
    library = diffusers()
    made = LIST.with_provenance(solver="heun")
    with pytest.warns(UserWarning, match=r"made for heun, EulerDiscreteScheduler is euler"):
        made.apply(library.EulerDiscreteScheduler())
    with pytest.warns(UserWarning, match=r"FlowMatchHeunDiscreteScheduler is Heun in flow time"):
        made.apply(library.FlowMatchHeunDiscreteScheduler())
    low = art_rl.schedule("edm", K=10, sigma_max=80.0, sigma_min=0.002)
    with pytest.warns(UserWarning, match=r"sigmas\[9\] = 0.002 lies below 0.0100"):
        low.apply(library.EulerDiscreteScheduler())
    with pytest.warns(UserWarning, match=r"starts at flow time 0.952, but pipelines start"):
        HIGH.apply(library.FlowMatchEulerDiscreteScheduler())


MULTISTEP = [
    ("DPMSolverMultistepScheduler", {}, "dpmpp2m"),
    ("DPMSolverMultistepScheduler", {"solver_order": 1}, "euler"),
    ("DPMSolverMultistepScheduler", {"solver_order": 3}, "dpmpp3m"),
    ("DPMSolverMultistepScheduler", {"solver_type": "heun"}, None),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, None),
    ("DPMSolverMultistepScheduler", FLOW, "dpmpp2m"),
    ("UniPCMultistepScheduler", {}, "unipc2"),
    ("UniPCMultistepScheduler", {"solver_order": 3, **FLOW}, "unipc3"),
    ("UniPCMultistepScheduler", {"solver_type": "bh1"}, None),
    ("EDMDPMSolverMultistepScheduler", {"solver_order": 3}, "dpmpp3m"),
]


@pytest.mark.parametrize(("name", "settings", "solver"), MULTISTEP)
def test_the_solver_of_a_multistep_scheduler_is_told_by_its_configuration(name, settings, solver):
    """All of them counted as DPM-Solver++(2M) or as none, whatever they were configured as."""

    def applied(made_for):
        scheduler = getattr(diffusers(), name)(**settings)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            LIST.with_provenance(solver=made_for).apply(scheduler)
        return scheduler, [str(w.message) for w in caught if "was made for" in str(w.message)]

    said = solver or "another solver"
    assert f"{name} is {said}" in applied("heun")[1][0]
    for made_for in ("euler", "dpmpp2m", "unipc2"):
        scheduler, told = applied(made_for)
        assert bool(told) == (made_for != solver)
    if solver is not None:
        assert not applied(solver)[1] and not applied(f"{solver}_flow")[1]
        ours = solve(MIXTURE, noise() * LIST.sigma_max, LIST, solver)
        end = sample(scheduler, LIST.sigma_max)
        assert float((end - ours).square().mean().sqrt()) < 2e-4


def test_two_levels_at_one_time_do_not_skip_the_first():
    # Both first levels beyond the last table entry would share its time; here both below the first.
    scheduler = diffusers().EulerDiscreteScheduler(timestep_spacing="trailing")
    equal = Schedule((0.009, 0.008, 0.0))
    with pytest.warns(UserWarning, match="lies below"):
        equal.apply(scheduler)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    scheduler.scale_model_input(noise().float(), scheduler.timesteps[0])
    assert scheduler.step_index == 0


def test_ays_lists_of_diffusers_load_as_schedules(tmp_path):
    lists = diffusers().schedulers.AysSchedules
    for name in ("StableDiffusionSigmas", "StableDiffusionXLSigmas", "StableDiffusionVideoSigmas"):
        ays = Schedule(lists[name])
        ays.save(tmp_path / "ays.json")
        assert Schedule.load(tmp_path / "ays.json") == ays and ays.K == 10
    sd = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = diffusers().EulerDiscreteScheduler(**sd)
    # The list is rounded to three digits and begins 2e-5 above the table: clip it to the table's end.
    first = float(scheduler.sigmas[0])
    clipped = Schedule(
        (min(lists["StableDiffusionSigmas"][0], first), *lists["StableDiffusionSigmas"][1:])
    )
    times = clipped.apply(scheduler).timesteps.numpy()
    assert np.abs(times - lists["StableDiffusionTimesteps"]).max() < 0.6


def test_configuration_file_gives_the_schedulers_own_table(tmp_path):
    library = diffusers()
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        scheduler = library.EulerDiscreteScheduler(beta_schedule=kind, **DDPM)
        scheduler.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "scheduler_config.json").read_text())
        ours = HIGH.to("timesteps", scheduler=config)
        np.testing.assert_allclose(ours, HIGH.to("timesteps", scheduler=scheduler), atol=2e-3)


# k-diffusion and azula


def test_k_diffusion_samplers_take_the_tensor_without_a_difference():
    reason = "k-diffusion (extra [interop]) is not installed"
    k = pytest.importorskip("k_diffusion", reason=reason, exc_type=ImportError)
    x = noise() * LIST.sigma_max
    for sampler, solver in ((k.sampling.sample_euler, "euler"), (k.sampling.sample_heun, "heun")):
        end = sampler(MIXTURE, x, LIST.to("sigmas", like=x), disable=True)
        torch.testing.assert_close(end, solve(MIXTURE, x, LIST, solver), rtol=0, atol=1e-12)


def test_azula_samplers_visit_the_levels():
    sample_module = pytest.importorskip(
        "azula.sample", reason="azula (extra [interop]) is not installed"
    )

    class Model:
        def __call__(self, x, t, **kwargs):
            alpha, sigma = self.schedule(t)
            return type("Posterior", (), {"mean": MIXTURE(x / alpha, sigma / alpha)})

    model = Model()
    model.schedule = LIST.to("azula")
    t = torch.linspace(1, 0, LIST.K + 1)
    assert (
        np.abs(model.schedule(t)[1].double().numpy() / np.maximum(LIST.numpy(), 1e-9) - 1)[
            :-1
        ].max()
        < 1e-7
    )
    x = noise() * LIST.sigma_max
    ours = solve(MIXTURE, x, LIST, "euler")
    for sampler in (sample_module.EulerSampler, sample_module.DDIMSampler):
        end = sampler(model, steps=LIST.K, silent=True, dtype=torch.float64)(x)
        torch.testing.assert_close(end, ours, rtol=0, atol=1e-12)
    for call, message in (
        (
            lambda: LIST.to("azula", sampler=sample_module.HeunSampler),
            "HeunSampler evaluates the model",
        ),
        (lambda: LIST.to("azula", sampler="xEABSampler"), "xEABSampler evaluates the model"),
        (lambda: LIST.to("azula", last=50.0), r"last .* must be in \[0, "),
    ):
        with pytest.raises(ArtRLError, match=message):
            call()
    model.schedule = LIST.to("azula", sampler="HeunSampler", last=0.001)
    end = sample_module.HeunSampler(model, steps=LIST.K, silent=True, dtype=torch.float64)(x)
    assert torch.isfinite(end).all()


def test_missing_azula_is_one_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "azula.noise", None)
    monkeypatch.setitem(sys.modules, "azula", None)
    with pytest.raises(ArtRLError, match=r"azula is needed .* pip install 'art_rl\[interop\]'"):
        LIST.to("azula")
