"""Multistep solvers: measured orders, calls, schedules per row, the last step, awkward lists."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from mixture_quantiles import Quantiles
from scipy.integrate import quad

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture, drift
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import SOLVERS, History, nfe, run_levels, solve
from art_rl.flow.solvers.adams import EQUAL_STEPS, adams_bashforth_weights
from art_rl.flow.solvers.deis import deis_weights, vp_time
from art_rl.registry import METHODS, ORDERS, SINGLE_STEP, STAGES, check_single_step
from art_rl.registry import SOLVERS as ENTRIES
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

MULTISTEP = [solver for solver in SOLVERS if solver not in SINGLE_STEP]
SLOPES = ("ipndm", "lms", "deis")  # what they extrapolate; the others extrapolate denoised states
TARGET = dict(
    weights=[0.2, 0.3, 0.3, 0.2], means=[[-1.5], [-0.5], [0.6], [1.4]], stds=[0.15, 0.4, 0.2, 0.3]
)
MIXTURE = GaussianMixture(**TARGET)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def power_grid(high, low, K, rho=3.0):
    """Levels whose steps differ by a factor that does not shrink with K: constant weights show."""
    return np.linspace(high ** (1 / rho), low ** (1 / rho), K + 1) ** rho


def error_between(solver, model, exact, levels):
    """Relative error at levels[-1] with a history of exact states, so that only the formula errs."""
    step = SOLVERS[solver]
    if hasattr(step, "lower_final"):
        step = dataclasses.replace(step, lower_final=False)
    sigmas, memory = torch.tensor(levels, dtype=torch.float64), ENTRIES[solver].memory
    history = History()
    evaluate = drift if solver.startswith(SLOPES) else (lambda d, x, sigma: d(x, sigma))
    seen = memory + solver.startswith("unipc")  # UniPC enters a step with its first evaluation made
    for k in range(seen):
        history.remember(sigmas[k], evaluate(model, exact(levels[k]), sigmas[k]), memory + 1)
    x = exact(levels[memory])
    for k in range(memory, len(levels) - 1):
        x = step(model, x, sigmas[k], sigmas[k + 1], history)
    end = exact(levels[-1])
    return float((x - end).norm() / end.norm())


@pytest.mark.parametrize("solver", MULTISTEP)
def test_order_on_the_gaussian_against_the_exact_flow(solver):
    gaussian, x = Gaussian(0.5, dim=3, mean=0.2), 10 * normal(64, 3)
    errors = [
        error_between(
            solver,
            gaussian,
            lambda level: gaussian.flow(x, 10.0, float(level)),
            power_grid(10.0, 0.1, K),
        )
        for K in (160, 320)
    ]
    assert errors[1] > 1e-12  # rounding does not decide
    # measured: within 0.07, DEIS 0.25 above, UniPC-3 and ipndm4 0.1
    assert -0.12 < np.log2(errors[0] / errors[1]) - ORDERS[solver] < 0.35


@pytest.mark.parametrize("solver", MULTISTEP)
def test_order_on_the_mixture_against_the_monotone_map(solver):
    """In one dimension the flow keeps ranks: F_low^-1(F_high(x)), F_s the marginal at level s."""

    def marginal(sigma):
        stds = np.sqrt(np.array(TARGET["stds"]) ** 2 + sigma**2)
        return Quantiles(GaussianMixture(TARGET["weights"], TARGET["means"], stds.tolist()), 2)

    ranks = marginal(3.0).cdf(np.linspace(-6, 6, 41))

    def exact(level):
        return torch.tensor(marginal(float(level)).quantile(ranks))[:, None]

    errors = [error_between(solver, MIXTURE, exact, power_grid(3.0, 0.2, K)) for K in (200, 400)]
    assert errors[1] > 1e-13
    assert abs(np.log2(errors[0] / errors[1]) - ORDERS[solver]) < 0.3


def test_adams_bashforth_weights_are_the_known_ones_and_the_integrals():
    for points, known in EQUAL_STEPS.items():
        levels = [torch.tensor(1.0 + 0.1 * j, dtype=torch.float64) for j in range(points)]
        got = adams_bashforth_weights(torch.tensor(0.9, dtype=torch.float64), *levels)
        np.testing.assert_allclose([float(w) / -0.1 for w in got], known, rtol=1e-12)
    for weights, coordinate in (
        (adams_bashforth_weights, lambda sigma: sigma),
        (deis_weights, vp_time),
    ):
        levels = torch.tensor([0.002, 0.3, 0.9, 6.3, 80.0], dtype=torch.float64)
        nodes = [float(coordinate(level)) for level in levels[1:]]
        for j, got in enumerate(weights(*levels)):

            def integrand(s, j=j, nodes=nodes, coordinate=coordinate):  # in log sigma
                sigma = torch.tensor(np.exp(s), dtype=torch.float64)
                at = float(coordinate(sigma))
                others = [n for i, n in enumerate(nodes) if i != j]
                return np.exp(s) * np.prod([(at - n) / (nodes[j] - n) for n in others])

            expected = quad(integrand, np.log(0.3), np.log(0.002), epsabs=1e-12, epsrel=1e-12)[0]
            assert float(got) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("solver", MULTISTEP)
@pytest.mark.parametrize("K", [1, 2, 3, 4, 10])
def test_one_call_a_step_is_counted(solver, K):
    counting = CountingDenoiser(Gaussian(0.5))
    end = solve(counting, 80 * normal(4, 1), baseline_schedule("edm", K, 80.0, 0.002), solver)
    assert counting.calls == nfe(solver, K) == K
    assert STAGES[solver] == 1 and torch.isfinite(end).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_schedules_run_together_as_they_run_alone(solver):
    x = 80 * normal(6, 1)
    grids = [baseline_schedule(name, 5, 80.0, 0.002) for name in ("edm", "dpm_no_sigma_min")]
    levels = torch.tensor([grid.sigmas for grid in grids], dtype=torch.float64)
    together = list(run_levels(MIXTURE, x.repeat(2, 1), levels, solver))
    assert len(together) == 5
    for n, grid in enumerate(grids):
        alone = []
        solve(MIXTURE, x, grid, solver, callback=lambda k, sigma, x, to=alone: to.append(x))
        for got, expected in zip(together, alone[1:], strict=True):
            # measured 3e-14: elementwise functions of one number and of many round differently
            np.testing.assert_allclose(got[6 * n : 6 * n + 6], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_step_to_zero(solver):
    """EULER: the denoised last state; OWN: the formula itself, which for iPNDM and LMS is another."""
    seen = []
    x = 80 * normal(50, 1)
    schedule = Schedule((80.0, 10.0, 2.0, 0.5, 0.1, 0.0))
    end = solve(MIXTURE, x, schedule, solver, callback=lambda *found: seen.append(found))
    denoised = MIXTURE(seen[-2][2], torch.tensor(0.1, dtype=torch.float64))
    off = float((end - denoised).abs().max())
    if ENTRIES[solver].last_step == "euler":
        assert off < 1e-12
    else:
        assert off > 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_lists_of_any_kind_give_finite_states(solver):
    x = 80 * normal(3, 2, seed=1)
    lists = [
        [80.0, 0.0],  # one step
        [80.0, 1.0, 0.0],  # fewer steps than the order
        [80.0, 10.0, 10.0, 1.0, 1.0, 1.0, 0.3, 0.1, 0.0],  # coinciding levels
        [80.0, 80.0, 80.0, 80.0, 5.0, 0.0],
        [80.0, 10.0, 10.0 * (1 - 1e-15), 10.0 * (1 - 1e-9), 10.0 * (1 - 1e-6), 1.0, 0.1, 0.0],
        [80.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 0.0],  # levels near 0
        [80.0, 1e-200, 1e-250, 1e-300, 0.0],
        [80.0, 10.0, 3.0, 1.0, 0.3],  # not to 0
        [1e6, 80.0, 10.0, 3.0, 1.0, 0.0],
    ]
    model = Gaussian(0.5, dim=2, mean=0.1)
    for levels in lists:
        alone = torch.tensor(levels, dtype=torch.float64)
        for given, states in ((alone, x), (alone.repeat(2, 1), x.repeat(2, 1))):
            steps = list(run_levels(model, states, given, solver))
            assert len(steps) == len(levels) - 1
            assert all(torch.isfinite(state).all() for state in steps), levels
            assert steps[-1].abs().max() < 1e7, levels


def test_a_step_of_no_length_does_not_move():
    x = 80 * normal(3, 2, seed=1)
    for solver in SOLVERS:
        levels = torch.tensor([80.0, 10.0, 3.0, 3.0, 1.0], dtype=torch.float64)
        _, _, before, after, _ = [x, *run_levels(Gaussian(0.5, dim=2), x, levels, solver)]
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("levels", "complaint"),
    [
        ([80.0, 90.0, 0.0], "decreasing.*80.0, 90.0, 0.0"),
        ([80.0, float("nan"), 0.0], "levels must be finite.*nan"),
        ([80.0, 0.0, 0.0], "above 0 before the last"),
        ([80.0, 1.0, -1.0], "-1.0"),
        ([[80.0, 1.0, 0.0], [80.0, 90.0, 0.0]], "got 80.0, 90.0, 0.0"),
        ([80.0], "K >= 1"),
        ([[80.0, 0.0]] * 3, r"\(3, 2\) for 4 states"),
    ],
)
def test_impossible_levels_are_one_line(levels, complaint):
    given = torch.tensor(levels, dtype=torch.float64)
    with pytest.raises(ArtRLError, match=complaint) as caught:
        list(run_levels(Gaussian(0.5), normal(4, 1), given, "dpmpp3m"))
    assert "\n" not in str(caught.value)


def test_the_registry_knows_what_the_solvers_are():
    assert list(ENTRIES) == list(SOLVERS)
    assert SINGLE_STEP == ("euler", "heun", "rk4")
    with pytest.raises(ArtRLError, match=r"single-step solver \(euler, heun, rk4\), got 'lms2'"):
        check_single_step("lms2")
    for solver in MULTISTEP:
        assert METHODS["art_rl_endpoint"].runs_with(solver)
        assert not METHODS["endpoint"].runs_with(solver)
    for a, b in itertools.combinations(ENTRIES.values(), 2):
        assert a.label != b.label
