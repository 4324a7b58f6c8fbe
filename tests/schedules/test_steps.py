"""The K-step problem: brute force, closed forms of Gaussian data, homogeneity, its limit."""

from itertools import combinations

import numpy as np
import pytest
import torch
from profile_objectives import closed_form_objective
from scipy.optimize import brentq

from art_rl.denoisers import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.measure_profile import measure_profile
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule
from art_rl.schedules.steps import StepCost, optimal_steps, steps_schedules

C, MAX, MIN = 0.5, 80.0, 0.002


def profile_of(levels, q, **change):
    """A profile with prescribed |Q|, the same on two trajectories."""
    M = len(levels)
    fields = dict(
        levels=levels,
        mean={1: q},
        standard_error={1: np.zeros(M)},
        sensitivity=C / np.hypot(C, levels),
        sensitivity_error=np.zeros(M),
        table=np.stack([q, q]).astype(np.float32),
        exact=True,
        sigma_data=C,
        model_digest="0" * 64,
    )
    return Profile(**(fields | change))


def gaussian_rate(sigma, c=C):
    return c**2 * (c**2 + sigma**2) ** -1.5


LEVELS = np.geomspace(MAX, MIN, 400)
GAUSSIAN = profile_of(LEVELS, gaussian_rate(LEVELS))


@pytest.fixture(scope="module")
def mixture_profile():
    """The default configuration's gmm1d_edm."""
    mixture = GaussianMixture(
        [0.2, 0.3, 0.3, 0.2], [[-1.5], [-0.5], [0.6], [1.4]], [0.15, 0.4, 0.2, 0.3]
    )
    generator = torch.Generator().manual_seed(0)
    start = 80 * torch.randn(512, 1, dtype=torch.float64, generator=generator)
    return measure_profile(mixture, start, MAX, MIN, progress=False)


def gaussian_cost(levels, c=C):
    """J_K of Gaussian data: C(sigma) = sigma / sqrt(c^2 + sigma^2)."""
    levels = np.asarray(levels)
    carried = levels / np.hypot(c, levels)
    return (len(levels) - 1) / levels[0] * np.sum(np.diff(levels) * np.diff(carried))


def test_cost_of_gaussian_data_is_known():
    cost = StepCost.from_profile(GAUSSIAN, smooth=False)
    for levels in ([80.0, 0.0], [80.0, 4.0, 0.0], [80.0, 30.0, 2.0, 0.3, 0.001, 0.0]):
        assert cost(levels) == pytest.approx(gaussian_cost(levels), rel=3e-6)
    assert cost(Schedule((80.0, 4.0, 0.0))) == cost([80.0, 4.0, 0.0])


@pytest.mark.parametrize("sigma_max", [3.0, 80.0, 4000.0])
@pytest.mark.parametrize("c", [0.1, 0.5])
def test_two_steps_on_gaussian_data_solve_the_stationarity_equation(sigma_max, c):
    """d/da [(T - a)(C(T) - C(a)) + a C(a)] = 0 with C = sigma / sqrt(c^2 + sigma^2)."""
    levels = np.geomspace(sigma_max, c / 300, 300)
    profile = profile_of(levels, gaussian_rate(levels, c), sigma_data=c)

    def slope(a):
        def carried(s):
            return s / np.hypot(c, s)

        return 2 * carried(a) - carried(sigma_max) + (2 * a - sigma_max) * gaussian_rate(a, c)

    exact = brentq(slope, c / 50, sigma_max * 0.6, xtol=1e-13)
    got = optimal_steps(StepCost.from_profile(profile, smooth=False), [2])[2]
    assert got[1] == pytest.approx(exact, rel=2e-5)


@pytest.mark.parametrize("K", [2, 3])
def test_brute_force_over_all_lists_finds_nothing_better(mixture_profile, K):
    cost = StepCost.from_profile(mixture_profile)
    levels = np.geomspace(79.0, 0.01, 1200 if K == 2 else 220)
    carried = cost.integral(levels)
    top = cost.integral(np.array([MAX]))[0]
    if K == 2:
        all_costs = (MAX - levels) * (top - carried) + levels * carried
        best = levels[[int(all_costs.argmin())]]
    else:
        first, second = np.array(list(combinations(range(len(levels)), 2))).T
        all_costs = (
            (MAX - levels[first]) * (top - carried[first])
            + (levels[first] - levels[second]) * (carried[first] - carried[second])
            + levels[second] * carried[second]
        )
        best = levels[[first[all_costs.argmin()], second[all_costs.argmin()]]]
    least = K / MAX * all_costs.min()
    got = optimal_steps(cost, [K])[K]
    assert least * (1 - 2e-3) < cost(got) <= least
    np.testing.assert_allclose(got[1:-1], best, rtol=0.06)


def test_random_moves_of_the_optimum_cost_more(mixture_profile):
    """At K = 5, 20 and 100: no nearby list is better, so the lattice does not limit it."""
    cost = StepCost.from_profile(mixture_profile)
    rng = np.random.default_rng(0)
    for K, levels in optimal_steps(cost, [5, 20, 100]).items():
        least = cost(levels)
        for scale in (1e-1, 1e-2, 1e-3, 1e-4):
            for _ in range(20):
                moved = levels.copy()
                moved[1:-1] += scale * np.diff(levels)[1:] * rng.uniform(-0.5, 0.5, K - 1)
                assert cost(moved) > least * (1 - 1e-13)
    # stationarity to rounding: the slope of the cost along each level, relative to its terms
    levels = optimal_steps(cost, [50])[50]
    carried, rate = cost.integral(levels), cost.integral.derivative()(levels[1:-1])
    h, c = -np.diff(levels), -np.diff(carried)
    slope = c[1:] - c[:-1] + (h[1:] - h[:-1]) * rate
    assert np.abs(slope / (c[1:] + c[:-1])).max() < 1e-6


def test_the_closed_form_is_the_limit_not_the_optimum(mixture_profile):
    """Measured on the default run's profile: 1.881, 1.442, 1.130, 1.018, 1.002."""
    budgets = [2, 3, 5, 10, 20, 50, 100, 200]
    cost = StepCost.from_profile(mixture_profile)
    best = optimal_steps(cost, budgets)
    ratio = [cost(quadrature_schedule(mixture_profile, K)) / cost(best[K]) for K in budgets]
    np.testing.assert_allclose(ratio[:5], [1.88, 1.44, 1.13, 1.018, 1.002], rtol=6e-3)
    assert 1 < ratio[7] < ratio[6] < ratio[5] < 1 + 1e-4
    # J_K falls to the continuous optimum like K^-2
    optimum = closed_form_objective(mixture_profile)
    excess = {K: cost(best[K]) / optimum - 1 for K in budgets}
    assert excess[50] / excess[100] == pytest.approx(4, rel=0.1)
    levels = quadrature_schedule(mixture_profile, 200).numpy()
    np.testing.assert_allclose(best[200][:-1], levels[:-1], rtol=3e-3)


def test_units_of_q_and_of_sigma_do_not_matter():
    cost = StepCost.from_profile(GAUSSIAN)
    budgets = [1, 2, 7, 20]
    plain = optimal_steps(cost, budgets)
    louder = StepCost.from_profile(profile_of(LEVELS, 1e5 * gaussian_rate(LEVELS)))
    wider = StepCost.from_profile(profile_of(30 * LEVELS, gaussian_rate(LEVELS), sigma_data=30 * C))
    for K in budgets:
        np.testing.assert_allclose(optimal_steps(louder, [K])[K], plain[K], rtol=1e-6)
        np.testing.assert_allclose(optimal_steps(wider, [K])[K], 30 * plain[K], rtol=1e-6)
        assert louder(plain[K]) == pytest.approx(1e5 * cost(plain[K]), rel=1e-9)
        assert wider(30 * plain[K]) == pytest.approx(30 * cost(plain[K]), rel=1e-9)


def test_constant_rate_gives_the_uniform_schedule():
    """q = 4 on [0, 2]: J_K = 4 T for equal steps, the optimum of every K."""
    nodes = np.linspace(0, 2.0, 41)
    cost = StepCost.from_cells(nodes, np.full(40, 4.0))
    for K, levels in optimal_steps(cost, [1, 3, 10, 200]).items():
        np.testing.assert_allclose(levels, np.linspace(2, 0, K + 1), atol=1e-6)
        assert cost(levels) == pytest.approx(8.0, rel=1e-10)


def test_cells_and_profile_agree():
    nodes = np.append(0.0, np.geomspace(1e-4, MAX, 3000))
    cells = np.diff(nodes / np.hypot(C, nodes)) / np.diff(nodes)
    cost = StepCost.from_cells(nodes, cells)
    other = StepCost.from_profile(GAUSSIAN, smooth=False)
    found, expected = optimal_steps(cost, [2, 5, 20]), optimal_steps(other, [2, 5, 20])
    for K in (2, 5, 20):
        np.testing.assert_allclose(found[K], expected[K], rtol=2e-3)
        assert cost(found[K]) == pytest.approx(gaussian_cost(found[K]), rel=5e-6)
        assert cost(found[K]) == pytest.approx(other(expected[K]), rel=1e-5)


def test_a_rate_that_vanishes_on_most_of_the_range():
    """q = 1 on [1, 2] only: the first step, 4 -> 2, is free, the last one pays for going on to 0."""
    cost = StepCost.from_cells(np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.0, 1.0, 0.0]))
    found = optimal_steps(cost, [1, 2, 3, 4])
    assert cost(found[1]) == pytest.approx(1.0)
    # K = 3: (2 - a)^2 + a (a - 1) is least at a = 5/4; K = 4: levels 3/2 and 1
    np.testing.assert_allclose(found[3], [4.0, 2.0, 1.25, 0.0], atol=1e-6)
    assert cost(found[3]) == pytest.approx(3 / 4 * 0.875, rel=1e-9)
    np.testing.assert_allclose(found[4], [4.0, 2.0, 1.5, 1.0, 0.0], atol=1e-6)
    assert cost(found[4]) == pytest.approx(0.5, rel=1e-9)


def test_propagated_rates_weigh_with_the_sensitivity():
    cost = StepCost.from_profile(GAUSSIAN, propagated=True, smooth=False)
    plain = StepCost.from_profile(
        profile_of(LEVELS, GAUSSIAN.mean[1] * GAUSSIAN.sensitivity), smooth=False
    )
    levels = optimal_steps(cost, [6])[6]
    assert cost(levels) == pytest.approx(plain(levels), rel=1e-6)
    np.testing.assert_allclose(levels, optimal_steps(plain, [6])[6], rtol=1e-5)


def test_schedules_and_their_provenance(mixture_profile, tmp_path):
    found = steps_schedules(mixture_profile, [5, 1, 5], model="m")
    assert list(found) == [1, 5] and found[1].sigmas == (80.0, 0.0)
    held = found[5].provenance
    assert (held["method"], held["solver"], held["budget"]) == ("quadrature_steps", "any", 5)
    assert held["model"] == "m" and held["model_digest"] == mixture_profile.model_digest
    assert held["details"]["cost"] == StepCost.from_profile(mixture_profile)(found[5])
    found[5].save(tmp_path / "s.json")
    assert Schedule.load(tmp_path / "s.json") == found[5]
    edm = baseline_schedule("edm", 5, MAX, MIN)
    assert held["details"]["cost"] < 0.5 * StepCost.from_profile(mixture_profile)(edm)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c: optimal_steps(c, [3, 0]), "number of steps"),
        (lambda c: c([40.0, 0.0]), "starts at sigma = 40.0, the profile at 80"),
        (lambda c: c([80.0, 90.0, 0.0]), "strictly decreasing"),
        (lambda c: StepCost.from_cells([0.1, 1.0], [1.0]), "first exactly 0"),
        (lambda c: StepCost.from_cells([0.0, 1.0, 1.0], [1.0, 1.0]), "ascending"),
        (lambda c: StepCost.from_cells([0.0, 1.0], [1.0, 2.0]), "1 finite values"),
        (lambda c: StepCost.from_cells([0.0, 1.0], [np.nan]), "1 finite values"),
        (lambda c: StepCost.from_cells([0.0, 1.0], [0.0]), "zero everywhere"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ArtRLError, match=message):
        call(StepCost.from_profile(GAUSSIAN))
