"""Experiments: configured targets, starting distributions, refusals."""

import copy

import numpy as np
import pytest
import torch

from art_rl.errors import ArtRLError
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.kinds.exact import random_mixture

CONFIG = {
    "target": {"kind": "mixture", "weights": [1, 3], "means": [[-1.0], [0.5]], "stds": [0.2, 0.4]},
    "sigma_min": 0.002,
    "sigma_max": 3.0,
    "start": "exact",
}


def built(**change):
    config = copy.deepcopy(CONFIG) | change
    return build_experiment("toy", config)


def test_exact_start_has_the_moments_of_the_noised_data():
    experiment = built()
    x = experiment.draw(100_000, seed=0)
    assert x.shape == (100_000, 1) and x.dtype == torch.float64
    std = np.hypot(experiment.denoiser.sigma_data, 3.0)
    mean = 0.25 * -1.0 + 0.75 * 0.5
    assert abs(float(x.mean()) - mean) < 4 * std / np.sqrt(1e5)
    assert abs(float(x.std()) / std - 1) < 0.01


def test_noise_start_is_scaled_noise_and_shares_it_with_the_exact_start():
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(5, 1, dtype=torch.float64, generator=generator)
    x = built(start="noise").draw(5, seed=7)
    assert torch.equal(x, 3.0 * noise)
    assert (built().draw(5, seed=7) - x).abs().max() < 4.0  # the data that was added
    assert torch.equal(built().draw(5, seed=7), built().draw(5, seed=7))
    assert not torch.equal(built().draw(5, seed=7), built().draw(5, seed=8))


def test_configuration_is_not_changed_by_building():
    before = copy.deepcopy(CONFIG)
    build_experiment("toy", CONFIG)
    assert before == CONFIG


def test_random_mixture_repeats_and_gaussian_kind():
    a, b = random_mixture(8, [0.1, 0.9], 0.5, 0), random_mixture(8, [0.1, 0.9], 0.5, 0)
    assert a.digest == b.digest != random_mixture(8, [0.1, 0.9], 0.5, 1).digest
    assert built(target={"kind": "gaussian", "std": 0.5, "dim": 3}).draw(2, 0).shape == (2, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"start": "exakt"}, "start must be one of exact, noise, got 'exakt'"),
        ({"sigma_min": 3.0}, "sigma_min < sigma_max"),
        (
            {"target": {"kind": "cauchy"}},
            r"target\.kind must be one of .*, random_mixture, got 'cauchy'",
        ),
    ],
)
def test_bad_configuration(change, message):
    with pytest.raises(ArtRLError, match=message):
        built(**change)


def test_image_model_without_network_is_refused():
    with pytest.raises(ArtRLError, match="network's file is needed"):
        build_experiment("digits", {"kind": "image", "sigma_min": 0.002, "sigma_max": 80.0})
