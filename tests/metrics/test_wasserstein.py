"""Exact 1-D Wasserstein-2 against closed forms and numeric quadrature."""

import numpy as np
import pytest
from mixture_quantiles import Quantiles
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from art_rl.denoisers import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.metrics.wasserstein import sampling_floor

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [0.2, 0.5])


def test_one_point_against_a_gaussian():
    """W2^2 of a point a to N(m, s^2) is (a - m)^2 + s^2."""
    quantiles = Quantiles(Gaussian(0.7, mean=0.4), 1)
    for a in (-3.0, 0.4, 10.0):
        assert quantiles.w2(np.array([a])) == pytest.approx(np.hypot(a - 0.4, 0.7), rel=1e-13)


def test_shift_and_scale_of_a_gaussian_sample():
    """The optimal map between Gaussians is affine: W2^2 grows by shift^2 + scale terms exactly."""
    n = 400
    model = Gaussian(0.5)
    quantiles = Quantiles(model, n)
    # cell means of the quantile function are the best n points; shifting them adds shift^2
    best = quantiles.cell_means()
    base = quantiles.w2(best) ** 2
    for shift in (0.1, -2.0):
        assert quantiles.w2(best + shift) ** 2 == pytest.approx(base + shift**2, rel=1e-9)
    within = np.mean(best**2)
    assert base == pytest.approx(0.25 - within, rel=1e-6)
    assert quantiles.w2(1.3 * best) ** 2 == pytest.approx(base + 0.09 * within, rel=1e-9)


def test_against_numeric_quadrature_with_scipy():
    n = 5
    sample = np.sort(np.random.default_rng(0).normal(size=n))

    def cdf(x):
        return 0.3 * norm.cdf(x, -1.0, 0.2) + 0.7 * norm.cdf(x, 0.8, 0.5)

    def quantile(u):
        return brentq(lambda x: cdf(x) - u, -12, 12, xtol=1e-14)

    squared = sum(
        quad(lambda u, x=x: (x - quantile(u)) ** 2, i / n, (i + 1) / n, limit=200, epsabs=1e-11)[0]
        for i, x in enumerate(sample)
    )
    got = Quantiles(MIXTURE, n).w2(np.random.default_rng(1).permutation(sample))
    assert got == pytest.approx(np.sqrt(squared), rel=1e-7)


def test_quantiles_invert_the_distribution_function():
    quantiles = Quantiles(MIXTURE, 10)
    u = np.concatenate([[1e-12, 1e-6], np.linspace(0.001, 0.999, 500), [1 - 1e-6]])
    np.testing.assert_allclose(quantiles.cdf(quantiles.quantile(u)), u, rtol=1e-9, atol=1e-15)
    x = np.linspace(-3, 3, 101)
    numeric = (quantiles.cdf(x + 1e-6) - quantiles.cdf(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(quantiles.pdf(x), numeric, rtol=1e-6, atol=1e-9)


def test_far_tails_of_the_partial_moments_add_up():
    quantiles = Quantiles(MIXTURE, 100_000)
    mean = 0.3 * -1.0 + 0.7 * 0.8
    second = 0.3 * (1 + 0.04) + 0.7 * (0.64 + 0.25)
    assert quantiles.cell_means().mean() == pytest.approx(mean, rel=1e-12)
    # all mass at one point: W2^2 is the mixture's second moment about it
    for point in (0.0, 3.0):
        exact = second - 2 * mean * point + point**2
        assert quantiles.w2(np.full(100_000, point)) ** 2 == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("offset", [1e4, 1e7, 1e10, -1e10])
def test_data_far_from_zero(offset):
    """W2 does not see a common shift; raw second moments lost it altogether at 1e8."""
    draws = np.random.default_rng(0).normal(0.1, 0.9, 2000)
    near = Quantiles(MIXTURE, 2000)
    moved = GaussianMixture([0.3, 0.7], [[-1.0 + offset], [0.8 + offset]], [0.2, 0.5])
    far = Quantiles(moved, 2000)
    spacing = np.spacing(abs(offset))
    assert far.w2(draws + offset) == pytest.approx(near.w2(draws), rel=1e-10, abs=2 * spacing)
    np.testing.assert_allclose(far.cell_means() - offset, near.cell_means(), atol=8 * spacing)


def test_components_far_from_each_other():
    """Half the mass at -1e4, half at 1e4, both of spread 1: the mean of the W2^2 of both sides."""
    n = 1000
    far = GaussianMixture([0.5, 0.5], [[-1e4], [1e4]], [1.0, 1.0])
    side = Quantiles(GaussianMixture([1.0], [[0.0]], [1.0]), n // 2)
    draws = np.random.default_rng(1).normal(0.2, 1.3, n // 2)
    both = np.concatenate([draws - 1e4, draws + 1e4])
    assert Quantiles(far, n).w2(both) == pytest.approx(side.w2(draws), rel=1e-6)


def test_sampling_floor_shrinks_like_the_root_of_n():
    small = sampling_floor(MIXTURE, 500, 40, seed=0)
    large = sampling_floor(MIXTURE, 8000, 40, seed=0)
    assert small.shape == (40,) and (small > 0).all()
    ratio = np.sqrt(np.mean(small**2) / np.mean(large**2))
    assert 3.0 < ratio < 5.3  # 4 in the limit; 40 repeats know it to about 15 %
    assert np.array_equal(small, sampling_floor(MIXTURE, 500, 40, seed=0))


def test_bad_input():
    quantiles = Quantiles(MIXTURE, 3)
    with pytest.raises(ArtRLError, match="prepared for n = 3 samples, got 2"):
        quantiles.w2(np.zeros(2))
    with pytest.raises(ArtRLError, match="must be finite, 1 of 3 are not"):
        quantiles.w2(np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ArtRLError, match=r"n \(sample size\) must be at least 1"):
        Quantiles(MIXTURE, 0)
    with pytest.raises(ArtRLError, match="1-D mixture, got dim = 2"):
        Quantiles(Gaussian(1.0, dim=2), 3)
