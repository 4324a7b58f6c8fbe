"""Exact denoisers against Tweedie's formula, Bayes' rule and sampling."""

import math

import numpy as np
import pytest
import torch

from art_rl.denoisers import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError

GENERATOR = dict(weights=[1.0, 2.0, 0.5], stds=[0.1, 0.5, 1.3])


def mixture(dim, shape=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(3, dim, dtype=torch.float64, generator=generator)
    return GaussianMixture(means=means.tolist(), shape=shape, **GENERATOR)


def normal(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def log_density(model, x, sigma):
    """log p(x; sigma) up to a constant, written down independently of the denoiser."""
    parts = [
        torch.distributions.MultivariateNormal(
            mean, (std**2 + sigma**2) * torch.eye(model.dim, dtype=torch.float64)
        ).log_prob(x)
        + torch.log(weight)
        for weight, mean, std in zip(model.weights, model.means, model.stds, strict=True)
    ]
    return torch.logsumexp(torch.stack(parts), 0)


@pytest.mark.parametrize("dim", [1, 2, 7])
@pytest.mark.parametrize("sigma", [0.002, 0.1, 1.0, 20.0, 80.0])
def test_tweedie(dim, sigma):
    """D = x + sigma^2 grad log p (Karras et al. 2022, eq. 3), the gradient by autograd."""
    model = mixture(dim)
    x = (normal(20, dim) * np.hypot(sigma, 1.0)).requires_grad_()
    (score,) = torch.autograd.grad(log_density(model, x, sigma).sum(), x)
    expected = (x + sigma**2 * score).detach()
    scale = float(expected.abs().max()) + sigma * 1e-3
    torch.testing.assert_close(model(x.detach(), sigma), expected, rtol=0, atol=1e-11 * scale)


def test_posterior_mean_by_numeric_integration():
    model = mixture(1)
    x, sigma = torch.tensor([[-2.0], [0.1], [1.7]], dtype=torch.float64), 0.4
    y = np.linspace(-12, 12, 200001)
    prior = sum(
        w / s * np.exp(-0.5 * ((y - m) / s) ** 2)
        for w, m, s in zip(
            model.weights.numpy(), model.means.numpy()[:, 0], model.stds.numpy(), strict=True
        )
    )
    posterior = prior * np.exp(-0.5 * ((x.numpy() - y) / sigma) ** 2)
    expected = (posterior * y).sum(1) / posterior.sum(1)
    np.testing.assert_allclose(model(x, sigma)[:, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("sigma", [80.0, 1.0, 0.1, 0.002])
def test_64_dimensions_agree_with_the_sum_over_components(sigma):
    """Distances are expanded from the data's centre; the plain differences lose no more digits."""
    generator = torch.Generator().manual_seed(4)
    means = 0.5 * torch.randn(3, 64, dtype=torch.float64, generator=generator)
    stds, weights = [0.1, 0.3, 0.9], [0.5, 0.2, 0.3]
    mixture = GaussianMixture(weights, means.tolist(), stds)
    x = mixture.sample(40, generator)
    x = x + sigma * torch.randn(x.shape, dtype=torch.float64, generator=generator)
    logs, posteriors = [], []
    for weight, mean, std in zip(weights, means, stds, strict=True):
        total = std**2 + sigma**2
        squares = ((x - mean) ** 2).sum(-1)
        logs.append(math.log(weight) - 32 * math.log(total) - squares / (2 * total))
        posteriors.append((std**2 * x + sigma**2 * mean) / total)
    share = torch.softmax(torch.stack(logs), 0)[..., None]
    expected = (share * torch.stack(posteriors)).sum(0)
    error = float((mixture(x, sigma) - expected).abs().max() / expected.abs().max())
    assert error < (1e-13 if sigma > 1 else 2e-15)  # measured: 2.3e-14 and 3.3e-16


def test_one_level_per_sample_and_sample_shapes():
    flat, image = mixture(6), mixture(6, shape=(2, 3, 1))
    x, sigma = normal(4, 6), torch.tensor([0.0, 0.1, 2.0, 80.0], dtype=torch.float64)
    each = torch.cat([flat(x[i : i + 1], sigma[i]) for i in range(4)])
    torch.testing.assert_close(flat(x, sigma), each, rtol=1e-13, atol=0)
    shaped = image(x.reshape(4, 2, 3, 1), sigma)
    assert shaped.shape == (4, 2, 3, 1)
    torch.testing.assert_close(shaped.reshape(4, 6), each, rtol=1e-13, atol=0)


def test_limits_of_the_noise_level():
    model, x = mixture(3), normal(10, 3)
    torch.testing.assert_close(model(x, 0.0), x, rtol=1e-14, atol=0)
    centre = (model.weights @ model.means).expand(10, 3)
    torch.testing.assert_close(model(x, 1e7), centre, rtol=0, atol=1e-6)


def test_far_points_stay_finite():
    model = mixture(3)
    for sigma in (0.0, 0.002, 80.0):
        assert torch.isfinite(model(1e6 * normal(5, 3), sigma)).all()


def test_float32_in_float32_out():
    out = mixture(3)(normal(5, 3).float(), torch.tensor(0.5))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), mixture(3)(normal(5, 3), 0.5), rtol=1e-4, atol=1e-5)


def test_gaussian_and_its_flow():
    model, x = Gaussian(0.5, dim=4, mean=0.3), normal(6, 4)
    expected = (0.25 * x + 4.0 * 0.3) / 4.25
    torch.testing.assert_close(model(x, 2.0), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(model.flow(x, 2.0, 2.0), x, rtol=1e-14, atol=1e-15)
    there_and_back = model.flow(model.flow(x, 80.0, 0.01), 0.01, 80.0)
    torch.testing.assert_close(there_and_back, x, rtol=1e-12, atol=1e-12)
    # d flow / d sigma is the drift
    h = 1e-6
    slope = (model.flow(x, 2.0, 2.0 + h) - model.flow(x, 2.0, 2.0 - h)) / (2 * h)
    torch.testing.assert_close(slope, (x - model(x, 2.0)) / 2.0, rtol=1e-8, atol=1e-9)


def test_samples_have_the_stated_moments():
    model = mixture(2)
    draws = model.sample(200_000, torch.Generator().manual_seed(3))
    centre = model.weights @ model.means
    error = (draws.mean(0) - centre).abs() / (draws.std(0) / 200_000**0.5)
    assert error.max() < 4.0
    spread = float(((draws - centre) ** 2).mean().sqrt())
    assert abs(spread / model.sigma_data - 1) < 0.01
    again = model.sample(200_000, torch.Generator().manual_seed(3))
    assert torch.equal(draws, again)


def test_digest_identifies_the_model():
    assert mixture(2).digest == mixture(2).digest
    others = {mixture(2, seed=1).digest, mixture(4).digest, mixture(4, shape=(2, 2)).digest}
    assert len(others | {mixture(2).digest}) == 4


def test_works_under_torch_func():
    model, x = mixture(3), normal(5, 3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: model(y[None], torch.tensor(0.7))[0]))(x)
    # the posterior covariance is symmetric and positive: dD/dx = Cov / sigma^2
    torch.testing.assert_close(jacobian, jacobian.mT, rtol=1e-10, atol=1e-12)
    assert torch.linalg.eigvalsh(jacobian).min() > 0


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(weights=[1.0, -1.0, 1.0]), r"weights\[1\] must be positive and finite, got -1"),
        (dict(stds=[0.1, 0.5, 0.0]), r"stds\[2\] must be positive and finite, got 0"),
        (dict(stds=[0.1, float("nan"), 1.0]), r"stds\[1\]"),
        (dict(weights=[1.0, 1.0]), r"2 weights needs means of shape \(2, d\)"),
        (dict(means=[[0.0], [float("inf")], [1.0]]), "means must be finite"),
        (dict(weights=[]), "non-empty"),
        (dict(shape=(2, 2)), "does not hold d = 1"),
    ],
)
def test_bad_mixtures(change, message):
    good = dict(means=[[0.0], [1.0], [2.0]], **GENERATOR)
    with pytest.raises(ArtRLError, match=message):
        GaussianMixture(**(good | change))
