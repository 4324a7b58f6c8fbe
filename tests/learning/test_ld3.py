"""LD3 against the official code: levels, losses, gradients and training traces; and its own promises."""

import re

import numpy as np
import pytest
import torch
from rivals_problem import RivalsProblem

import art_rl
from art_rl.denoisers.exact import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import nfe, solve
from art_rl.learning.ld3 import (
    Descent,
    end_of,
    learn_ld3,
    levels_of,
    network_levels,
    squared_error,
)
from art_rl.own_model.measure import measure
from art_rl.schedules.schedule import Schedule
from art_rl.settings.rivals import LD3Settings

# Official name -> ours; its UniPC runs are of the variant bh1, which is not built here.
SOLVERS = {"euler": "euler", "ipndm3": "ipndm3", "dpmpp2": "dpmpp2m"}


@pytest.fixture(scope="module")
def problem(test_data):
    return RivalsProblem(test_data("goldens/rivals"))


@pytest.mark.parametrize("mode", ["lambda", "time"])
@pytest.mark.parametrize("K", [4, 6, 10])
def test_levels_from_parameters(problem, K, mode):
    arrays = problem.arrays("schedules_ld3")
    for case in range(5):
        name = f"param/K{K}_{case}"
        xi, shifts = (torch.tensor(arrays[f"{name}/{p}"]) for p in ("p1", "p2"))
        levels = levels_of(xi, 80.0, 0.002, mode)
        told = network_levels(levels, shifts, xi, mode)
        np.testing.assert_allclose(levels, arrays[f"{name}/{mode}/t1"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(told, arrays[f"{name}/{mode}/t2"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("euler", "euler"),
        ("ipndm2", "ipndm2"),
        ("ipndm3", "ipndm3"),
        ("ipndm4", "ipndm4"),
        ("dpmpp2", "dpmpp2m"),
    ],
)
def test_losses_of_given_lists(problem, name, solver):
    losses, arrays = problem.json("schedules_ld3")["loss"], problem.arrays("schedules_ld3")
    for n in (5, 7, 11):
        levels = torch.tensor(np.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), n) ** 7)
        for dim in (1, 16):
            target = torch.tensor(arrays[f"teacher_unipc20/x{dim}"])
            end = end_of(problem.model(dim), problem.start(dim), levels, solver)
            golden = losses[f"{name}|rho7_n{n}|d{dim}|teacher|L2"]
            assert float(squared_error(end, target)) == pytest.approx(golden, rel=1e-9)


@pytest.mark.parametrize("mode", ["lambda", "time"])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dim", [1, 16])
def test_losses_and_gradients(problem, mode, name, dim):
    arrays = problem.arrays("schedules_ld3")
    target = torch.tensor(arrays[f"teacher_unipc20/x{dim}"])
    for K in (4, 6):
        case = f"grad/{mode}/{name}/d{dim}/K{K}_3"
        xi, shifts = (
            torch.tensor(arrays[f"param/K{K}_3/{p}"], requires_grad=True) for p in ("p1", "p2")
        )
        levels = levels_of(xi, 80.0, 0.002, mode)
        told = network_levels(levels, shifts, xi, mode)
        x = problem.start(dim)
        loss = squared_error(end_of(problem.model(dim), x, levels, SOLVERS[name], told), target)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(arrays[f"{case}/loss"]), abs=1e-9)
        np.testing.assert_allclose(xi.grad, arrays[f"{case}/g1"], atol=1e-9)
        # In mode "lambda" this case has every shift at its bound: no gradient.
        found = np.zeros(K + 1) if shifts.grad is None else shifts.grad
        np.testing.assert_allclose(found, arrays[f"{case}/g2"], atol=1e-9)


@pytest.mark.parametrize(
    ("run", "solver", "dim", "mode"),
    [("ipndm3_d16_K5_lambda", "ipndm3", 16, "lambda"), ("dpmpp2_d1_K5_time", "dpmpp2m", 1, "time")],
)
def test_training_follows_the_official_trace(problem, run, solver, dim, mode):
    arrays = problem.arrays("schedules_ld3")
    x, model = problem.start(dim), problem.model(dim)
    target = torch.tensor(arrays[f"teacher_unipc20/x{dim}"])

    def loss(xi, shifts, part):
        levels = levels_of(xi, 80.0, 0.002, mode)
        return squared_error(end_of(model, x, levels, solver), target)

    descent = Descent(loss, 5, LD3Settings())
    descent.validate()
    golden = arrays[f"train/{run}/p1"], arrays[f"train/{run}/loss"]
    # Two rows a round of one step: at its start, from the best parameters, and after the step.
    for row in range(0, 24, 2):
        if row:
            descent.restore()
        np.testing.assert_allclose(descent.xi.detach(), golden[0][row], atol=1e-6)
        before, after = descent.step(False)
        np.testing.assert_allclose(descent.xi.detach(), golden[0][row + 1], atol=1e-6)
        assert (before, after) == pytest.approx(tuple(golden[1][row : row + 2]), abs=1e-6)


def mixture():
    return GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.4])


def learn(model, solver="euler", budgets=(4,), method="ld3", **settings):
    sizes = {"rounds": 2, "steps": 10, "train": 24, "valid": 16, "reference_steps": 16} | settings
    n = sizes["train"] + sizes["valid"]
    x = 80 * torch.randn(n, *model.shape, generator=torch.Generator().manual_seed(0)).double()
    return learn_ld3(
        model,
        x,
        80.0,
        0.002,
        solver,
        list(budgets),
        LD3Settings(**sizes),
        progress=False,
        method=method,
    )


@pytest.mark.parametrize("method", ["ld3", "ld3_decoupled"])
@pytest.mark.parametrize("solver", ["euler", "heun", "ipndm3", "dpmpp2m", "unipc2"])
def test_learning_lowers_the_error_and_says_what_was_measured(solver, method):
    model = mixture()
    schedule, trace = learn(model, solver, method=method)[4]
    loss, valid, best = ([row[key] for row in trace] for key in ("loss", "valid", "best"))
    assert min(loss) < 0.9 * loss[0] and best[-1] <= min(valid)
    assert best == sorted(best, reverse=True)
    again, _ = learn(model, solver, method=method)[4]
    assert again.sigmas == schedule.sigmas
    # What the report says is what the sampler does with the schedule.
    x = 80 * torch.randn(40, 1, generator=torch.Generator().manual_seed(0)).double()
    end = reference_solution(model, x, 80.0, steps=16, sigma_min=0.002, check=0).end
    error = (solve(model, x[24:], schedule, solver) - end[24:]).square().mean().sqrt()
    details = schedule.provenance["details"]
    assert details["valid_rmse"] == pytest.approx(float(error), rel=1e-9)


def test_evaluations_are_counted_with_a_backward_pass_as_two():
    forward = 0

    class Counted(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            nonlocal forward
            forward += len(x)
            return super().__call__(x, sigma)

    found = learn(Counted(0.5), "heun", (3, 5))
    spent = [found[K][0].provenance["details"]["evaluations"] for K in (3, 5)]
    reference = 40 * nfe("rk4", 16)
    backward = sum(20 * 24 * nfe("heun", K) * 2 for K in (3, 5))
    assert sum(spent) - reference == forward + backward  # the reference is shared
    assert found[3][1][-1]["evaluations"] == spent[0]


def test_decoupled_levels_are_learned_kept_and_sampled_with(tmp_path):
    model = mixture()
    sizes = {"budgets": (5,), "train": 64, "valid": 64, "rounds": 7, "steps": 25}
    learn(model, method="ld3_decoupled", **sizes)[5][0].save(tmp_path / "K5.json")
    schedule = Schedule.load(tmp_path / "K5.json")
    told = schedule.network_levels
    assert schedule.method == "ld3_decoupled" and len(told) == 6
    assert told[0] == pytest.approx(80.0)
    moved = [abs(a / b - 1) for a, b in zip(told[1:-1], schedule.sigmas[1:-1], strict=True)]
    assert max(moved) > 0.05
    # Here the second list halves Euler's error (0.53 times; it depends on K how much, docs/rivals.md).
    x = 80 * torch.randn(512, 1, generator=torch.Generator().manual_seed(1)).double()
    end = reference_solution(model, x, 80.0, steps=64, sigma_min=0.002, check=0).end
    errors = [
        float((solve(model, x, one, "euler") - end).square().mean().sqrt())
        for one in (schedule, Schedule(schedule.sigmas), learn(model, **sizes)[5][0])
    ]
    assert errors[0] < 0.7 * min(errors[1:])
    # The sampler in NumPy's words: x moves by the formulas' levels, the slope is that at the told ones.
    y = x
    for now, then, t in zip(schedule.sigmas, schedule.sigmas[1:], told, strict=False):
        y = y + (then - now) * (y - model(y, torch.tensor(t, dtype=torch.float64))) / t
    torch.testing.assert_close(solve(model, x, schedule, "euler"), y, rtol=1e-12, atol=1e-12)


def test_plain_lists_have_no_second_one_and_decoupled_ones_go_nowhere_else():
    assert learn(mixture())[4][0].network_levels is None
    schedule = learn(mixture(), method="ld3_decoupled")[4][0]
    uses = {
        "resample": lambda: schedule.resample(8),
        "to('sigmas')": lambda: schedule.to("sigmas"),
        "apply": lambda: schedule.apply(object()),
        "measure": lambda: measure(mixture(), {"mine": schedule}),
    }
    for use, call in uses.items():
        with pytest.raises(ArtRLError, match=re.escape(use) + " cannot be done with decoupled"):
            call()
    told = list(schedule.network_levels)
    for bad in (
        told[:-1],
        [0.0, *told[1:]],
        [float("nan"), *told[1:]],
        ["80", *told[1:]],
        [-1.0, *told[1:]],
        80.0,
    ):
        with pytest.raises(ArtRLError, match=r"network_levels .* must be K \+ 1 = 5 finite"):
            Schedule(schedule.sigmas, {"details": {"network_levels": bad}})
    assert schedule.resample(4) is schedule
    assert Schedule(schedule.sigmas).resample(8).K == 8
    with pytest.raises(ArtRLError, match="evaluates at the listed levels only, got 'rk4'"):
        solve(mixture(), torch.ones(2, 1).double(), schedule, "rk4")
    with pytest.raises(ArtRLError, match="'ld3' learns the list alone"):
        art_rl.learn(mixture(), budgets=[4], method="ld3_decoupled")
    with pytest.raises(ArtRLError, match="method must be one of"):
        learn(mixture(), method="ld4")


def test_one_step_needs_no_learning():
    schedule, trace = learn(mixture(), budgets=(1,))[1]
    assert schedule.sigmas == (80.0, 0.0) and trace == []


def test_bad_input_is_one_clear_line():
    settings = LD3Settings(train=2, valid=2)
    with pytest.raises(ArtRLError, match=r"train \+ valid = 4"):
        learn_ld3(mixture(), torch.zeros(3, 1), 80.0, 0.002, "euler", [2], settings)
    with pytest.raises(ArtRLError, match="reference_steps must be at least 17 for K = 16 with rk4"):
        learn(mixture(), "rk4", budgets=(4, 16))
    with pytest.raises(ArtRLError, match="sigma_min"):
        learn_ld3(mixture(), torch.zeros(4, 1), 80.0, 0.0, "euler", [2], settings)
    with pytest.raises(ArtRLError, match="mode must be one of"):
        levels_of(torch.ones(3), 80.0, 0.002, "sigma")
    for bad in ({"rate": 0.0}, {"rounds": 0}, {"colour": 1}, {"mode": "sigma"}):
        with pytest.raises(ArtRLError, match=next(iter(bad))):
            LD3Settings(**bad)
