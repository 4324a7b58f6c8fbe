"""One set of checks for every denoiser: exact models, the small network, the official networks."""

import math

import numpy as np
import pytest
import torch
from edm_networks import random_denoiser

from art_rl.denoisers.base import drift
from art_rl.denoisers.exact import Gaussian
from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.errors import ArtRLError
from art_rl.flow.measure_errors import measure_error_moments
from art_rl.flow.measure_profile import measure_profile
from art_rl.flow.reference import reference_solution
from art_rl.flow.seeds import one_hot
from art_rl.flow.solvers import solve
from art_rl.schedules.hand_made import edm
from art_rl.schedules.schedule import Schedule

CLASSES = 10


def unet(label_dim=0, size=8):
    config = UNetConfig((3, size, size), (8,), embedding=8, attention=False, label_dim=label_dim)
    return UNetDenoiser(config, 0.5).eval().requires_grad_(False)


MODELS = {
    "exact": lambda: Gaussian(0.5, dim=3),
    "unet": unet,
    "unet_cond": lambda: unet(CLASSES),
    "ddpmpp": lambda: random_denoiser("ddpmpp"),
    "adm_cond": lambda: random_denoiser("adm"),
}


def call(model, **changed):
    """Two states of the model's shape at level 1 with the labels it needs, some of it changed."""
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    labels = one_hot([1, 2], CLASSES) if model.label_dim else None
    arguments = {"x": x, "sigma": torch.tensor(1.0), "class_labels": labels} | changed
    return model(*arguments.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_refuses_what_does_not_fit_and_takes_what_does(name):
    model = MODELS[name]()
    shape, classes = model.shape, model.label_dim
    for x in (torch.zeros(2, *shape[:-1], shape[-1] + 1), torch.zeros(shape), torch.zeros(())):
        with pytest.raises(ArtRLError, match=r"x must be \(B, "):
            call(model, x=x)
    for dtype in (torch.int64, torch.uint8):
        with pytest.raises(ArtRLError, match="x must be of a float dtype"):
            call(model, x=torch.zeros(2, *shape, dtype=dtype))
    for sigma in (torch.ones(3), torch.ones(2, 1)):
        with pytest.raises(ArtRLError, match=r"sigma must be \(\) or \(2,\)"):
            call(model, sigma=sigma)
    for sigma in (-1.0, math.nan, math.inf, "1", None, *([0.0] if name != "exact" else [])):
        with pytest.raises(ArtRLError, match="sigma must be a finite number"):
            call(model, sigma=sigma)
    with pytest.raises(ArtRLError, match="x must be a torch tensor, got ndarray"):
        call(model, x=np.zeros((2, *shape)))
    if classes:
        faults = [
            (None, "class_labels are missing: the model has 10 classes"),
            (torch.tensor([1, 2]), r"one-hot of shape \(2, 10\), got \(2,\)"),
            (one_hot([1], CLASSES), r"one-hot of shape \(2, 10\), got \(1, 10\)"),
            (one_hot([1, 2], CLASSES).long(), "one-hot of a float dtype, got torch.int64"),
        ]
    else:
        faults = [(one_hot([1, 2], CLASSES), "class_labels must be None: the model is uncond")]
    for labels, phrase in faults:
        with pytest.raises(ArtRLError, match=phrase):
            call(model, class_labels=labels)
    for sigma in (
        1.0,
        1,
        np.float32(1),
        torch.tensor(1.0),
        torch.ones(2),
        torch.tensor(1.0, dtype=torch.float64),
    ):
        assert call(model, sigma=sigma).shape == (2, *shape)


@pytest.mark.parametrize("name", ["unet_cond", "adm_cond"])
def test_every_function_refuses_a_conditional_network_without_labels(name):
    model = MODELS[name]()
    x = 10.0 * torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(0)).double()
    grid = Schedule(tuple(edm(3, 10.0, 0.01)))
    functions = {
        "drift": lambda: drift(model, x, 1.0),
        "solve": lambda: solve(model, x, grid, "heun"),
        "reference": lambda: reference_solution(model, x, 10.0, steps=4, sigma_min=0.01, check=2),
        "profile": lambda: measure_profile(model, x, 10.0, 0.01, 4, progress=False),
        "moments": lambda: measure_error_moments(model, x, 10.0, 0.01, "euler", 4, progress=False),
    }
    for function in functions.values():
        with pytest.raises(ArtRLError, match="class_labels are missing"):
            function()


def test_checks_hold_under_forward_mode_and_do_not_change_numbers():
    model = unet(CLASSES)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels, sigma = one_hot([1, 2], CLASSES), torch.tensor(0.7)
    value, _ = torch.func.jvp(lambda s: model(x, s, labels), (sigma,), (torch.tensor(1.0),))
    inner = model.net(x * torch.rsqrt(sigma**2 + 0.25), torch.log(sigma) / 4, labels)
    total = sigma**2 + 0.25
    by_hand = 0.25 / total * x + sigma * 0.5 * torch.rsqrt(total) * inner
    np.testing.assert_array_equal(value.numpy(), by_hand.numpy())
