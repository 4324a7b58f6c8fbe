"""Schedules from measured statistics, against what Gaussian data give in closed form."""

import itertools

import numpy as np
import pytest

from art_rl.errors import ArtRLError
from art_rl.schedules.hand_made import grid_from_density
from art_rl.schedules.rivals.ays import FIRST, _distinct, ays_nodes, ays_schedule, klub_table
from art_rl.schedules.rivals.elbo import elbo_cost, elbo_schedule
from art_rl.schedules.rivals.gits import gits_schedule
from art_rl.schedules.rivals.path import best_path
from art_rl.schedules.rivals.quantiles import (
    entropic_schedule,
    equal_shares,
    score_optimal_schedule,
)
from art_rl.schedules.rivals.statistics import RivalStatistics

C = 0.5  # standard deviation of the data


def gaussian_statistics(M=1500, N=21):
    """What N(0, C^2) has: every expectation in closed form."""
    s = np.geomspace(80.0, 0.002, M)
    keep = C**2 / (C**2 + s**2)  # D = keep x
    variance = C**2 + s**2
    change = np.zeros((M, M)) if M > 300 else _gaussian_change(s)
    score = (1 / variance[:-1] - 1 / variance[1:]) ** 2 * variance[1:]
    levels = np.geomspace(80.0, 0.002, N)
    return RivalStatistics(
        s,
        C**2 * (1 - keep),
        score,
        change,
        levels,
        np.triu(np.random.default_rng(0).uniform(size=(N, N)), 1),
        {"denoising_error": 1, "score_change": 2, "denoiser_change": 3, "jump_cost": 4},
        "digest",
    )


def _gaussian_change(s):
    """E |D_j - D_i|^2 on one path: x_i = x_j + noise of variance s_i^2 - s_j^2."""
    keep, variance = C**2 / (C**2 + s**2), C**2 + s**2
    low = np.minimum(variance[:, None], variance[None, :])
    return (
        keep[:, None] ** 2 * variance[:, None]
        + keep[None, :] ** 2 * variance[None, :]
        - 2 * keep[:, None] * keep[None, :] * low
    ).clip(0)


@pytest.mark.parametrize("K", [3, 8])
def test_entropic_levels_of_gaussian_data(K):
    # eps2 / s^2 = C^2 / (C^2 + s^2): the arctan density.
    schedule = entropic_schedule(gaussian_statistics(), K)
    exact = grid_from_density(lambda s: C / (C**2 + s**2), K, 80.0, 0.002)
    np.testing.assert_allclose(schedule.sigmas[:-1], exact[:-1], rtol=2e-4)
    assert schedule.sigmas[-1] == 0 and schedule.provenance["details"]["evaluations"] == 1


@pytest.mark.parametrize("K", [3, 8])
def test_score_optimal_levels_of_gaussian_data(K):
    # |d score / d s| = 2 s |x| / (C^2 + s^2)^2, so the density is s^2 / (C^2 + s^2)^(3/2).
    schedule = score_optimal_schedule(gaussian_statistics(), K)
    exact = grid_from_density(lambda s: s**2 * (C**2 + s**2) ** -1.5, K, 80.0, 0.002)
    np.testing.assert_allclose(schedule.sigmas[:-1], exact[:-1], rtol=2e-2)


def test_the_elbo_cost_and_its_path():
    statistics = gaussian_statistics(M=60)
    cost = elbo_cost(statistics.levels, statistics.denoising_error)
    i, j = 40, 12
    s = statistics.levels
    expected = (1 / s[i] ** 2 - 1 / s[j] ** 2) / 2 * C**2 * s[j] ** 2 / (C**2 + s[j] ** 2)
    assert cost[j, i] == pytest.approx(expected, rel=1e-12)
    assert cost[i, j] == 0
    schedule = elbo_schedule(statistics, 5)
    assert schedule.provenance["details"]["path"] == best_path(cost, 5)[0]
    # More steps never raise the bound.
    values = [elbo_schedule(statistics, K).provenance["details"]["value"] for K in range(1, 12)]
    assert (np.diff(values) < 0).all()


def test_klub_of_gaussian_data():
    s = np.geomspace(80.0, 0.002, 280)
    table = klub_table(s, _gaussian_change(s))
    # One step from s_i to s_j, by quadrature on a far finer list.
    i, j = 100, 140
    fine = np.geomspace(s[i], s[j], 20001)
    a, b = C**2 / (C**2 + fine**2), C**2 / (C**2 + fine[0] ** 2)
    change = (a - b) ** 2 * (C**2 + fine**2) + b**2 * (fine[0] ** 2 - fine**2)
    exact = -np.trapezoid(change / fine**2, np.log(fine))
    assert table[i, j] == pytest.approx(exact, rel=2e-3)
    assert table[j, i] == 0 and table[i, i] == 0


def test_align_your_steps_lowers_the_bound_and_ends_deterministically():
    statistics = gaussian_statistics(M=200)
    table = klub_table(statistics.levels, statistics.denoiser_change)
    nodes = ays_nodes(statistics.levels, table)
    assert len(nodes) == 4 * FIRST + 1 and nodes[0] == 0 and nodes[-1] == 199
    assert (np.diff(nodes) > 0).all()

    def bound(list_):
        return sum(table[i, j] for i, j in itertools.pairwise(list_))

    rho = np.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 41) ** 7
    start = _distinct(np.rint(np.interp(-np.log(rho), -np.log(statistics.levels), range(200))), 200)
    assert bound(nodes) < bound([int(v) for v in start])
    assert nodes == ays_nodes(statistics.levels, table)
    ten = ays_schedule(statistics, 10)
    np.testing.assert_allclose(ten.sigmas[:-1], statistics.levels[nodes[::4]][:-1], rtol=1e-12)


def test_too_few_levels_for_forty_steps():
    with pytest.raises(ArtRLError, match="at least 120"):
        ays_schedule(gaussian_statistics(M=60), 10)


def test_equal_shares_of_a_constant_rate_are_geometric_and_no_length_is_refused():
    levels = np.geomspace(80.0, 0.01, 33)
    grid = equal_shares(levels, np.ones(32), 8)
    np.testing.assert_allclose(grid, levels[::4], rtol=1e-12)
    with pytest.raises(ArtRLError, match="positive in all"):
        equal_shares(levels, np.zeros(32), 4)


def test_statistics_survive_their_file_and_others_are_refused(tmp_path):
    statistics = gaussian_statistics(M=40)
    statistics.save(tmp_path / "rivals.npz")
    again = RivalStatistics.load(tmp_path / "rivals.npz")
    np.testing.assert_array_equal(again.jump_cost, statistics.jump_cost)
    assert again.evaluations == statistics.evaluations
    assert gits_schedule(again, 4).sigmas == gits_schedule(statistics, 4).sigmas
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(ArtRLError, match=r"bad\.npz"):
        RivalStatistics.load(tmp_path / "bad.npz")
    with pytest.raises(ArtRLError, match="denoising_error"):
        RivalStatistics(
            *(statistics.levels, -statistics.denoising_error, statistics.score_change),
            *(statistics.denoiser_change, statistics.teacher_levels, statistics.jump_cost),
            *({}, "digest"),
        )
