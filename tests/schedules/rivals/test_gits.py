"""GITS against the official code's cost matrices and selections."""

import numpy as np
import pytest
import torch
from rivals_problem import RivalsProblem

from art_rl.errors import ArtRLError
from art_rl.flow.rivals.measure import teacher_path
from art_rl.flow.trajectory import walk
from art_rl.schedules.rivals.gits import jump_costs
from art_rl.schedules.rivals.path import best_path

CASES = [
    (16, 21, "dev"),
    (16, 21, "l2"),
    (16, 21, "l1"),
    (16, 61, "dev"),
    (16, 61, "l2"),
    (1, 21, "dev"),
    (1, 21, "l2"),
    (1, 61, "l2"),
]


@pytest.fixture(scope="module")
def problem(test_data):
    return RivalsProblem(test_data("goldens/rivals"))


@pytest.mark.parametrize(("dim", "M", "kind"), CASES)
def test_costs_and_selections_are_the_official_ones(problem, dim, M, kind):
    arrays = problem.arrays("schedules_gits")
    name = f"gits/d{dim}/M{M}/euler/{kind}"
    levels, golden = arrays[f"gits/M{M}/t_steps"], arrays[f"{name}/cost"]
    path = walk(problem.model(dim), problem.start(dim), levels, solver="euler")
    slopes = (path.states - path.denoised) / torch.tensor(path.levels)[:, None, None]
    slopes = slopes.numpy()
    cost = jump_costs(levels, path.states.numpy(), slopes, kind)
    # Measured: 6e-15.
    np.testing.assert_allclose(np.triu(cost, 1), np.triu(golden, 1), atol=1e-12, rtol=0)
    facts = problem.json("schedules_gits")["results"][name]
    # In one dimension "dev" is 0 but for rounding: the selection is made of the official matrix.
    chosen = golden if dim == 1 and kind == "dev" else cost
    assert facts["selected"]
    for key, indices in facts["selected"].items():
        growth, levels_ = (part for part in key.split("/"))
        found, value = best_path(
            chosen, int(levels_.removeprefix("num_steps")) - 1, float(growth.removeprefix("coeff"))
        )
        assert found == indices, key
        assert value == pytest.approx(facts["dp_value"][key], abs=1e-11)


@pytest.mark.parametrize("kind", ["dev", "l2", "l1"])
@pytest.mark.parametrize("M", [21, 61])
def test_the_published_teacher(problem, M, kind):
    arrays = problem.arrays("schedules_gits")
    levels = arrays[f"gits/M{M}/t_steps"]
    states, slopes = teacher_path(problem.model(16), problem.start(16), levels)
    cost = jump_costs(levels, states.numpy(), slopes.numpy(), kind)
    name = f"gits/d16/M{M}/ipndm/{kind}"
    if f"{name}/cost" in arrays:  # not every matrix was stored; all selections were
        golden = arrays[f"{name}/cost"]
        np.testing.assert_allclose(np.triu(cost, 1), np.triu(golden, 1), atol=1e-12, rtol=0)
    selected = problem.json("schedules_gits")["results"][name]["selected"]
    assert selected
    for key, indices in selected.items():
        growth, count = key.split("/")
        K = int(count.removeprefix("num_steps")) - 1
        assert best_path(cost, K, float(growth.removeprefix("coeff")))[0] == indices, key


def test_a_straight_trajectory_costs_nothing_and_a_bent_one_what_it_leaves_the_chord():
    levels = np.array([2.0, 1.0, 0.5])
    states = np.array([[[0.0, 0.0]], [[1.0, 1.0]], [[2.0, 0.0]]])
    slopes = np.array([[[-1.0, 0.0]], [[-1.0, 0.0]], [[0.0, 0.0]]])
    cost = jump_costs(levels, states, slopes, "dev")
    # 0 -> 1 stays on the chord, the teacher is off by 1; 1 -> 2 keeps the distance 1 of its start.
    np.testing.assert_allclose(cost, [[0, -1, 0], [0, 0, 1], [0, 0, 0]], atol=1e-15)
    distances = jump_costs(levels, states, slopes, "l2")
    np.testing.assert_allclose(distances[0, 1], 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "l3"}, "kind"), ({"slopes": np.zeros((2, 1, 2))}, "slopes"), ({"nan": 1}, "finite")],
)
def test_bad_input_is_one_clear_line(change, words):
    states = np.zeros((3, 1, 2))
    if change.pop("nan", None):
        states[0, 0, 0] = np.nan
    arguments = {"levels": [3.0, 2.0, 1.0], "states": states, "slopes": np.zeros((3, 1, 2))}
    with pytest.raises(ArtRLError, match=words):
        jump_costs(**(arguments | change))
