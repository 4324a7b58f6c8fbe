"""Closed-form ART: exact cases, robustness to noise, the objective and its bounds."""

import dataclasses

import numpy as np
import pytest
import torch
from profile_objectives import art_objective, closed_form_objective, per_trajectory_bound
from scipy.optimize import minimize

from art_rl.denoisers import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.measure_profile import Profile, measure_profile
from art_rl.schedules.closed_form import (
    TRAINED_RANGE,
    node_density,
    quadrature_schedule,
    smooth_log,
)
from art_rl.schedules.hand_made import baseline_schedule, grid_from_density
from art_rl.schedules.schedule import Schedule

C, MAX, MIN = 0.5, 80.0, 0.002
MIXTURE = GaussianMixture(
    [0.2, 0.3, 0.3, 0.2], [[-1.5], [-0.5], [0.6], [1.4]], [0.15, 0.4, 0.2, 0.3]
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture(scope="module")
def gaussian_profile():
    return measure_profile(Gaussian(C, dim=3), 80 * normal(256, 3), MAX, MIN, progress=False)


@pytest.fixture(scope="module")
def mixture_profile():
    return measure_profile(MIXTURE, 80 * normal(512, 1), MAX, MIN, progress=False)


def power_profile(levels, q, **change):
    """A profile with prescribed |Q|, the same on two trajectories."""
    M = len(levels)
    fields = dict(
        levels=levels,
        mean={1: q},
        standard_error={1: np.zeros(M)},
        sensitivity=np.ones(M),
        sensitivity_error=np.zeros(M),
        table=np.stack([q, q]).astype(np.float32),
        exact=True,
        sigma_data=C,
        model_digest="0" * 64,
    )
    return Profile(**(fields | change))


@pytest.mark.parametrize("K", [1, 2, 20])
def test_gaussian_data_gives_the_gaussian_and_the_arctan_schedule(gaussian_profile, K):
    for propagated, name in ((False, "gaussian"), (True, "arctan")):
        got = quadrature_schedule(gaussian_profile, K, propagated=propagated).numpy()
        exact = baseline_schedule(name, K, MAX, MIN, C).numpy()
        np.testing.assert_allclose(got, exact, rtol=2e-4)


@pytest.mark.parametrize("order, power, exponent", [(2, 1, -2.5), (4, None, None)])
def test_higher_orders_on_the_gaussian(gaussian_profile, order, power, exponent):
    def density(s):
        a = C**2 + s**2
        if order == 2:
            return (s**power * a**exponent) ** (1 / 3)
        return np.abs(45 * s * a**-3.5 - 105 * s**3 * a**-4.5) ** (1 / 5)

    got = quadrature_schedule(gaussian_profile, 9, order=order).numpy()
    np.testing.assert_allclose(
        got, grid_from_density(density, 9, MAX), rtol=6e-3 if order == 2 else 0.03, atol=1e-12
    )


def test_provenance(gaussian_profile):
    for order, propagated, method, solver in (
        (1, False, "quadrature", "any"),
        (2, False, "quadrature_order", "heun"),
        (4, False, "quadrature_order", "rk4"),
        (1, True, "propagated", "any"),
    ):
        schedule = quadrature_schedule(
            gaussian_profile, 4, order, propagated, model="g", solver=solver
        )
        held = schedule.provenance
        assert (held["method"], held["solver"], held["budget"]) == (method, solver, 4)
        assert held["model_digest"] == Gaussian(C, dim=3).digest and held["model"] == "g"
        assert held["versions"]["torch"] == str(torch.__version__)
        assert held["details"]["profile"]["trajectories"] == 256


def test_provenance_is_json(gaussian_profile, tmp_path):
    schedule = quadrature_schedule(gaussian_profile, 4, trust=(0.02, 4.0))
    schedule.save(tmp_path / "s.json")
    assert Schedule.load(tmp_path / "s.json").provenance == schedule.provenance


def test_smoothing_leaves_power_laws_and_the_exact_profile_alone(mixture_profile):
    levels = mixture_profile.levels
    np.testing.assert_allclose(smooth_log(levels, 3 * levels**-1.7), 3 * levels**-1.7, rtol=1e-9)
    smooth = quadrature_schedule(mixture_profile, 20).numpy()
    raw = quadrature_schedule(mixture_profile, 20, smooth=False).numpy()
    np.testing.assert_allclose(smooth, raw, rtol=2e-3)


@pytest.mark.parametrize("noise", [0.2, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_profile_gives_a_good_grid(mixture_profile, noise, seed):
    """Independent noise on every level: strictly decreasing, near the exact grid, near its cost."""
    rng = np.random.default_rng(seed)
    clean = mixture_profile.mean[1]
    noisy = clean * np.exp(noise * rng.standard_normal(len(clean)))
    noisy[rng.integers(len(noisy))] = 0.0  # a level at which the estimate failed altogether
    profile = dataclasses.replace(mixture_profile, mean=mixture_profile.mean | {1: noisy})
    exact = quadrature_schedule(mixture_profile, 20).numpy()
    got = quadrature_schedule(profile, 20).numpy()
    assert np.abs(got[1:-1] / exact[1:-1] - 1).max() < 0.7 * noise
    rough = quadrature_schedule(profile, 20, smooth=False).numpy()
    assert (
        np.log(np.diff(got) / np.diff(exact)).std() < np.log(np.diff(rough) / np.diff(exact)).std()
    )
    fine = quadrature_schedule(profile, 64)
    optimum = closed_form_objective(mixture_profile)
    assert art_objective(fine, mixture_profile) < optimum * (1 + noise**2 / 8)


def test_network_tails_are_replaced_only_where_asked(gaussian_profile):
    q = gaussian_profile.mean[1].copy()
    levels = gaussian_profile.levels
    bad = (levels < TRAINED_RANGE[0] / 1.01) | (levels > TRAINED_RANGE[1] * 1.01)
    q[bad] *= 30.0  # network error at both ends
    change = dict(mean={1: q}, standard_error={1: 0 * q})
    network = dataclasses.replace(gaussian_profile, exact=False, **change)
    exact = baseline_schedule("gaussian", 10, MAX, MIN, C).numpy()
    # the law sigma^-3 holds to 1.8 % above 4.5 = 9 c
    np.testing.assert_allclose(quadrature_schedule(network, 10).numpy(), exact, rtol=2e-2)
    assert quadrature_schedule(network, 10).provenance["details"]["trust"] == list(TRAINED_RANGE)
    untreated = quadrature_schedule(network, 10, trust=None).numpy()
    assert np.abs(untreated[:-1] / exact[:-1] - 1).max() > 0.5
    model = dataclasses.replace(gaussian_profile, **change)
    np.testing.assert_array_equal(quadrature_schedule(model, 10).numpy(), untreated)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_trust_continues_with_the_gaussian_tail(gaussian_profile, order):
    density = node_density(gaussian_profile, order, trust=(0.1, 2.0))
    inside = gaussian_profile.levels[(gaussian_profile.levels <= 2.0)][0]
    low = gaussian_profile.levels[(gaussian_profile.levels >= 0.1)][-1]
    above = density(np.array([inside * 2, inside * 16])) ** (order + 1)
    assert above[0] / above[1] == pytest.approx(8.0 ** (order + 2), rel=1e-9)
    below = density(np.array([1e-9, low / 3, low]))
    np.testing.assert_allclose(below, below[-1], rtol=1e-12)
    free = node_density(gaussian_profile, order, smooth=False)(np.array([0.3, 1.0]))
    np.testing.assert_allclose(density(np.array([0.3, 1.0])), free, rtol=1e-2)


def test_automatic_trust_does_not_fail_on_another_range():
    """A model whose whole range lies outside the trained levels is used as measured."""
    levels = np.geomspace(1000.0, 10.0, 20)
    profile = power_profile(levels, levels**-2.0, exact=False)
    got = quadrature_schedule(profile, 5).numpy()
    np.testing.assert_allclose(got, quadrature_schedule(profile, 5, trust=None).numpy())


def test_objective_of_known_cases():
    """|Q| = 4 on [0, 2]: the uniform clock costs 4 T and is optimal."""
    levels = np.geomspace(2.0, 0.01, 200)
    profile = power_profile(levels, np.full(200, 4.0))
    for K in (1, 3, 50):
        uniform = baseline_schedule("uniform", K, 2.0, 0.01)
        assert art_objective(uniform, profile, "linear") == pytest.approx(8.0, rel=1e-12)
    assert closed_form_objective(profile) == pytest.approx(8.0, rel=1e-12)
    assert per_trajectory_bound(profile)[0] == pytest.approx(8.0, rel=2e-3)
    # two intervals, thetas 3 and 1 on lengths 1.5 and 0.5: 4 (3/2 3/2 + 1/2 1/2) per unit clock
    got = art_objective([2.0, 0.5, 0.0], profile, "linear")
    assert got == pytest.approx(4 * (1.5 * 1.5 + 0.5 * 0.5), rel=1e-12)


def test_objective_of_the_gaussian_clock_is_the_closed_form(gaussian_profile):
    """int (s^2 + c^2)^(-3/4) is known to scipy's quadrature; the gaussian clock attains the optimum."""
    from scipy.integrate import quad

    root = sum(
        quad(lambda s: (s * s + C * C) ** -0.75, a, b, epsabs=1e-13)[0]
        for a, b in ((0, 1), (1, 10), (10, MAX))
    )
    size = float((80 * normal(256, 3)).norm(dim=1).mean()) / np.hypot(C, MAX)
    exact = size * C**2 * root**2 / MAX
    assert closed_form_objective(gaussian_profile) == pytest.approx(exact, rel=2e-4)
    for K in (4, 64):
        schedule = baseline_schedule("gaussian", K, MAX, MIN, C)
        assert art_objective(schedule, gaussian_profile) == pytest.approx(exact, rel=2e-4)
    # all trajectories have the same shape of |Q|: the bound is the same number
    assert per_trajectory_bound(gaussian_profile)[0] == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("clock", ["gaussian", "linear"])
def test_no_clock_beats_the_closed_form(mixture_profile, clock):
    optimum = closed_form_objective(mixture_profile)
    bound, error = per_trajectory_bound(mixture_profile)
    assert bound < optimum and error < 0.05 * bound
    rng = np.random.default_rng(0)
    for _ in range(20):
        inner = np.sort(np.exp(rng.uniform(np.log(0.01), np.log(79), 30)))[::-1]
        assert art_objective([MAX, *inner, 0.0], mixture_profile, clock) > optimum
    costs = [
        art_objective(quadrature_schedule(mixture_profile, K), mixture_profile, clock) / optimum - 1
        for K in (64, 128)
    ]
    assert 0 < costs[1] < costs[0] < 4e-3
    assert costs[0] / costs[1] > 2.5  # the excess is of order K^-2 (4), or nearly so in the tail


def test_the_closed_form_is_a_minimum_over_grids(mixture_profile):
    """A derivative-free search over 40 levels finds nothing below it, and comes close to it."""
    start = quadrature_schedule(mixture_profile, 40).numpy()
    optimum = closed_form_objective(mixture_profile)

    def cost(c):
        k = np.arange(41)
        u = k + np.sin(np.pi * np.outer(k, np.arange(1, 4)) / 40) @ c
        levels = np.interp(u, k, start)
        return art_objective(levels, mixture_profile) / optimum

    found = minimize(cost, np.full(3, 0.3), method="Nelder-Mead", options={"maxiter": 60})
    assert cost(np.full(3, 0.3)) > 1.0004 and 1.0 < found.fun < 1.0004


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p: quadrature_schedule(p, 0), "number of steps"),
        (
            lambda p: quadrature_schedule(p, 3, order=5),
            r"order must be one of 1, 2, 3, 4, got 5",
        ),
        (lambda p: quadrature_schedule(p, 3, trust="yes"), 'trust must be "auto", None or'),
        (lambda p: quadrature_schedule(p, 3, trust=(5.0, 1.0)), "at least 3 levels"),
        (lambda p: quadrature_schedule(p, 3, trust=(500.0, 600.0)), "at least 3 levels"),
        (lambda p: smooth_log(p.levels, 0 * p.levels), "zero everywhere"),
    ],
)
def test_bad_arguments(gaussian_profile, call, message):
    with pytest.raises(ArtRLError, match=message):
        call(gaussian_profile)
