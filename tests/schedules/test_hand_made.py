"""Baselines against their closed forms; grid_from_density against independent quadrature."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from art_rl.errors import ArtRLError
from art_rl.schedules.hand_made import BASELINES, baseline_schedule, grid_from_density

MAX, MIN = 80.0, 0.002
BUDGETS = [2, 3, 5, 18, 100]


def levels(name, K, **options):
    return baseline_schedule(name, K, MAX, MIN, **options).numpy()


@pytest.mark.parametrize("K", BUDGETS)
@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_edm_is_equation_5(K, rho):
    i = np.arange(K) / (K - 1)
    expected = (MAX ** (1 / rho) + i * (MIN ** (1 / rho) - MAX ** (1 / rho))) ** rho
    np.testing.assert_allclose(levels("edm", K, rho=rho), [*expected, 0.0], rtol=1e-11)


@pytest.mark.parametrize("K", BUDGETS)
def test_dpm_is_geometric(K):
    expected = MAX * (MIN / MAX) ** (np.arange(K) / (K - 1))
    np.testing.assert_allclose(levels("dpm", K), [*expected, 0.0], rtol=1e-12)


@pytest.mark.parametrize("K", [1, *BUDGETS])
def test_grids_without_sigma_min_node(K):
    u = np.arange(K) / K
    geometric = MAX * (MIN / MAX) ** u
    rho7 = (MAX ** (1 / 7) + u * (MIN ** (1 / 7) - MAX ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels("dpm_no_sigma_min", K), [*geometric, 0.0], rtol=1e-12)
    np.testing.assert_allclose(levels("edm_no_sigma_min", K), [*rho7, 0.0], rtol=1e-11)


@pytest.mark.parametrize("K", [1, *BUDGETS])
@pytest.mark.parametrize("c", [0.1, 0.5, 2.0])
def test_uniform_arctan_and_cosine(K, c):
    u = np.arange(K + 1) / K
    np.testing.assert_allclose(levels("uniform", K), MAX * (1 - u), rtol=1e-14, atol=1e-13)
    arctan = c * np.tan((1 - u) * np.arctan(MAX / c))
    np.testing.assert_allclose(levels("arctan", K, sigma_data=c), arctan, rtol=1e-10, atol=1e-13)
    cosine = np.tan((1 - u) * np.arctan(MAX))
    np.testing.assert_allclose(levels("cosine", K), cosine, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("c", [0.3, 0.5])
def test_gaussian_by_adaptive_quadrature(c):
    def inverse(share):
        def missing(sigma):
            return quad(lambda s: (s * s + c * c) ** -0.75, 0, sigma, epsabs=1e-14)[0] - share

        return brentq(missing, 0, MAX, xtol=1e-14, rtol=1e-14)

    K = 7
    total = sum(
        quad(lambda s: (s * s + c * c) ** -0.75, a, b, epsabs=1e-14)[0]
        for a, b in ((0, 0.5), (0.5, 5), (5, MAX))
    )
    expected = [MAX, *(inverse(total * (K - k) / K) for k in range(1, K)), 0.0]
    np.testing.assert_allclose(levels("gaussian", K, sigma_data=c), expected, rtol=1e-9)


def test_edm_and_dpm_coincide_at_two_steps():
    assert levels("edm", 2).tolist() == levels("dpm", 2).tolist() == [80.0, 0.002, 0.0]
    assert levels("uniform", 2).tolist() == [80.0, 40.0, 0.0]


@pytest.mark.parametrize("name", BASELINES)
def test_one_step_and_conventions(name):
    assert levels(name, 1).tolist() == [80.0, 0.0]
    schedule = baseline_schedule(name, 4, MAX, MIN)
    assert schedule.provenance["method"] == name and schedule.provenance["budget"] == 4


def test_grid_cuts_a_density_into_equal_shares():
    def bumpy(sigma):
        return (1 + 0.9 * np.sin(5 * np.log(sigma + 0.01))) / (sigma + 0.05)

    for low in (0.0, 0.01):
        grid = grid_from_density(bumpy, 9, 10.0, low)
        assert grid[0] == 10.0 and grid[-1] == low
        shares = [
            quad(bumpy, b, a, epsabs=1e-13, epsrel=1e-13, limit=200)[0] for a, b in pairwise(grid)
        ]
        np.testing.assert_allclose(shares, np.mean(shares), rtol=1e-9)


def test_grid_does_not_depend_on_the_scale_of_the_density():
    grids = [grid_from_density(lambda s, f=f: f / (s + 1), 5, 4.0) for f in (1e-200, 1.0, 1e200)]
    np.testing.assert_allclose(grids[0], grids[1], rtol=1e-12)
    np.testing.assert_allclose(grids[2], grids[1], rtol=1e-12)


def test_density_that_is_zero_on_part_of_the_range():
    grid = grid_from_density(lambda s: np.where((s > 1) & (s < 2), 1.0, 0.0), 4, 4.0)
    np.testing.assert_allclose(grid, [4.0, 1.75, 1.5, 1.25, 0.0], rtol=1e-2)


@pytest.mark.parametrize(
    "density, message",
    [
        (lambda s: -np.ones_like(s), r"finite and >= 0, but is not at sigma = "),
        (lambda s: np.where(s > 1, np.nan, 1.0), r"finite and >= 0"),
        (lambda s: np.full_like(s, np.inf), r"finite and >= 0"),
        (lambda s: np.zeros_like(s), "positive somewhere"),
        (lambda s: np.exp(-(((s - 1) / 1e-17) ** 2)), "positive somewhere"),
    ],
)
def test_bad_densities(density, message):
    with pytest.raises(ArtRLError, match=message):
        grid_from_density(density, 3, 4.0)


def test_bad_arguments():
    with pytest.raises(ArtRLError, match="unknown baseline schedule 'emd'; known: uniform"):
        baseline_schedule("emd", 3, MAX, MIN)
    with pytest.raises(ArtRLError, match="sigma_data must be positive"):
        baseline_schedule("arctan", 3, MAX, MIN, sigma_data=0.0)
    for rho in (0.0, -1.0, float("nan")):
        with pytest.raises(ArtRLError, match="rho must be positive"):
            baseline_schedule("edm", 3, MAX, MIN, rho=rho)
    for name in ("edm", "dpm", "edm_no_sigma_min", "dpm_no_sigma_min"):
        with pytest.raises(ArtRLError, match="needs sigma_min > 0"):
            baseline_schedule(name, 3, MAX, 0.0)
    for name in BASELINES:
        with pytest.raises(ArtRLError, match="number of steps"):
            baseline_schedule(name, 0, MAX, MIN)
        with pytest.raises(ArtRLError, match="sigma_min < sigma_max"):
            baseline_schedule(name, 3, MIN, MAX)
