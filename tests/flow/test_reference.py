"""Reference solution against the Gaussian's exact flow, its own error estimate, and bad input."""

import pytest
import torch

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution

MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0], [0.8]], [0.2, 0.3])


def draw(n, sigma_max, dim=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return sigma_max * torch.randn(n, dim, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("sigma_max", [3.0, 80.0])
def test_gaussian_flow_at_the_end(sigma_max):
    target = Gaussian(0.5, dim=3, mean=0.2)
    x = draw(32, sigma_max, 3)
    reference = reference_solution(target, x, sigma_max, steps=64)
    # Last Euler step from 0.002: relative error 0.002^2 / (2 * 0.5^2) = 8e-6.
    exact = target.flow(x, sigma_max, 0.0)
    rms = float((reference.end - exact).square().mean().sqrt())
    assert rms < 2e-5


def test_step_doubling_estimates_the_error():
    x = draw(64, 80.0)
    truth = reference_solution(MIXTURE, x, 80.0, steps=400, sigma_min=1e-5, check=0).end
    coarse = reference_solution(MIXTURE, x, 80.0, steps=12)
    actual = float((coarse.end - truth).square().mean().sqrt())
    assert 0.5 < coarse.error / actual < 2
    fine = reference_solution(MIXTURE, x, 80.0, steps=64)
    assert fine.error < 0.02 * coarse.error
    assert float((fine.end - truth).square().mean().sqrt()) < 2e-5


def test_call_count():
    counting = CountingDenoiser(MIXTURE)
    reference = reference_solution(counting, draw(6, 3.0), 3.0, steps=10, check=0)
    assert counting.calls == 4 * 10 - 3 and reference.error is None
    assert counting.rows == reference.evaluations == 6 * counting.calls
    counting = CountingDenoiser(MIXTURE)
    reference = reference_solution(counting, draw(6, 3.0), 3.0, steps=10, check=4)
    assert counting.rows == reference.evaluations == 6 * 37 + 4 * (4 * 20 - 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 1}, "at least 2"),
        ({"steps": 0}, "at least 1"),
        ({"sigma_min": 3.0}, "sigma_min"),
        ({"solver": "rk5"}, "rk5"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ArtRLError, match=words):
        reference_solution(MIXTURE, draw(2, 3.0), 3.0, **options)
