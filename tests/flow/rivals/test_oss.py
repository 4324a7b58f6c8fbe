"""OSS against the official search: every sample's path, and the medians."""

import numpy as np
import pytest
import torch
from rivals_problem import RivalsProblem

from art_rl.denoisers.exact import Gaussian
from art_rl.errors import ArtRLError
from art_rl.flow.rivals.oss import oss_schedules, search_paths
from art_rl.schedules.rivals.oss import distinct_path, median_path


@pytest.fixture(scope="module")
def problem(test_data):
    return RivalsProblem(test_data("goldens/rivals"))


@pytest.mark.parametrize("end", ["smin", "zero"])
@pytest.mark.parametrize("dim", [1, 16])
def test_paths_are_the_official_ones(problem, end, dim):
    arrays = problem.arrays("schedules_others")
    levels = arrays[f"oss/levels_{end}"]
    for K in (4, 6, 8):
        paths = search_paths(problem.model(dim), problem.start(dim), levels, K)
        np.testing.assert_array_equal(paths, arrays[f"oss/{end}/d{dim}/S{K}/steps"])
        medians = arrays[f"oss/{end}/d{dim}/S{K}/median_steps"].tolist()
        assert median_path(paths) == medians


def test_paths_become_distinct_steps_from_the_noisiest_level():
    assert distinct_path([3, 5, 7, 17], 20) == [3, 5, 7, 20]
    assert distinct_path([2, 2, 2, 20], 20) == [2, 3, 4, 20]
    assert distinct_path([18, 19, 20, 20], 20) == [17, 18, 19, 20]
    assert distinct_path([0], 3) == [3]
    for path in ([9, 9, 9, 9, 9, 9], [1, 1, 20, 20, 20, 20]):
        found = distinct_path(path, 20)
        assert (np.diff(found) > 0).all() and found[0] >= 1 and found[-1] == 20
    with pytest.raises(ArtRLError, match="between 1 and 3"):
        distinct_path([1, 2, 3, 4], 3)


def test_schedules_of_several_budgets_and_what_they_cost():
    rows = 0

    class Counted(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            nonlocal rows
            rows += len(x)
            return super().__call__(x, sigma)

    model = Counted(0.5, dim=2)
    x = 80 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()
    levels = np.append(np.geomspace(80.0, 0.01, 12), 0.0)
    found = oss_schedules(model, x, levels, [2, 5], model="g")
    assert sorted(found) == [2, 5]
    spent = [found[K].provenance["details"]["evaluations"] for K in (2, 5)]
    assert rows == spent[0] + spent[1] - 12 * 6  # the teacher is shared
    assert found[5].sigma_max == 80.0 and found[5].sigmas[-1] == 0.0
    # As many steps as the teacher's can only be the teacher's own.
    full = oss_schedules(model, x, levels, [12])[12]
    np.testing.assert_array_equal(full.sigmas, levels)


def test_levels_must_ascend():
    with pytest.raises(ArtRLError, match="ascending"):
        search_paths(Gaussian(0.5), torch.zeros(1, 1), np.array([1.0, 0.5]), 1)
