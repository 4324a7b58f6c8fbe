"""Dynamic programming over candidate levels against brute force."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from art_rl.errors import ArtRLError
from art_rl.schedules.rivals.path import best_path, ended


@pytest.mark.parametrize("growth", [1.0, 1.15, 0.8])
@pytest.mark.parametrize("K", [1, 2, 4, 7])
def test_the_best_path_is_the_best_of_all_paths(K, growth):
    cost = np.random.default_rng(K).normal(size=(8, 8))
    path, value = best_path(cost, K, growth)

    def total(inner):
        nodes = [0, *inner, 7]
        return sum(growth**s * cost[a, b] for s, (a, b) in enumerate(pairwise(nodes)))

    totals = {inner: total(inner) for inner in combinations(range(1, 7), K - 1)}
    best = min(totals, key=totals.get)
    assert path == [0, *best, 7]
    assert value == pytest.approx(totals[best], abs=1e-12)


def test_of_equal_paths_the_first_index_wins():
    assert best_path(np.zeros((6, 6)), 3)[0] == [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("cost", "K", "growth", "words"),
    [
        (np.zeros((3, 4)), 1, 1.0, "square"),
        (np.full((3, 3), np.nan), 1, 1.0, "finite"),
        (np.zeros((4, 4)), 4, 1.0, "at most 3"),
        (np.zeros((4, 4)), 0, 1.0, "at least 1"),
        (np.zeros((4, 4)), 2, 0.0, "growth"),
    ],
)
def test_bad_input_is_one_clear_line(cost, K, growth, words):
    with pytest.raises(ArtRLError, match=words):
        best_path(cost, K, growth)


def test_the_last_level_becomes_zero_and_the_rest_stays():
    schedule = ended(np.array([80.0, 3.0, 0.002]), "gits", {})
    assert schedule.sigmas == (80.0, 3.0, 0.0)
    assert schedule.provenance["budget"] == 2
