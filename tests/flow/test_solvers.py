"""Solvers: measured orders, counted network calls, exact endpoints."""

import numpy as np
import pytest
import torch
from mixture_quantiles import Quantiles

from art_rl.denoisers import CountingDenoiser, Denoiser, Gaussian, GaussianMixture, drift
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import ORDERS, SOLVERS, nfe, run_levels, solve
from art_rl.registry import SINGLE_STEP
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

TARGET = dict(
    weights=[0.2, 0.3, 0.3, 0.2], means=[[-1.5], [-0.5], [0.6], [1.4]], stds=[0.15, 0.4, 0.2, 0.3]
)
STEPS = {"euler": (256, 512), "heun": (128, 256), "rk4": (48, 96)}


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def states_at(denoiser, x, levels, solver):
    """State after the solver's own steps (no final Euler step) along ``levels``."""
    sigmas = torch.tensor(levels, dtype=torch.float64)
    for k in range(len(levels) - 1):
        x = SOLVERS[solver](denoiser, x, sigmas[k], sigmas[k + 1])
    return x


@pytest.mark.parametrize("solver", SINGLE_STEP)
def test_order_on_the_gaussian_against_the_exact_flow(solver):
    gaussian = Gaussian(0.5, dim=3, mean=0.2)
    x, exact, errors = 10 * normal(64, 3), None, []
    for K in STEPS[solver]:
        exact = gaussian.flow(x, 10.0, 0.1)
        got = states_at(gaussian, x, np.geomspace(10, 0.1, K + 1), solver)
        errors.append(float((got - exact).norm() / exact.norm()))
    assert errors[1] > 1e-13  # rounding does not decide
    order = np.log2(errors[0] / errors[1])
    assert abs(order - ORDERS[solver]) < 0.06


@pytest.mark.parametrize("solver", SINGLE_STEP)
def test_order_on_the_mixture_against_the_monotone_map(solver):
    """In one dimension the flow keeps ranks: it is F_low^-1(F_high(x)), F_s the marginal at level s."""
    mixture = GaussianMixture(**TARGET)
    high, low = 3.0, 0.2

    def marginal(sigma):
        stds = np.sqrt(np.array(TARGET["stds"]) ** 2 + sigma**2)
        return Quantiles(GaussianMixture(TARGET["weights"], TARGET["means"], stds.tolist()), 2)

    x = torch.linspace(-6, 6, 41, dtype=torch.float64)[:, None]
    exact = marginal(low).quantile(marginal(high).cdf(x[:, 0].numpy()))
    errors = []
    for K in STEPS[solver]:
        got = states_at(mixture, x, np.geomspace(high, low, K + 1), solver)[:, 0].numpy()
        errors.append(np.sqrt(np.mean((got - exact) ** 2)))
    assert errors[1] > 1e-12
    assert abs(np.log2(errors[0] / errors[1]) - ORDERS[solver]) < 0.15


def test_reference_solution_is_the_monotone_map():
    mixture = GaussianMixture(**TARGET)
    stds = np.sqrt(np.array(TARGET["stds"]) ** 2 + 9.0)
    start = Quantiles(GaussianMixture(TARGET["weights"], TARGET["means"], stds.tolist()), 2)
    end = Quantiles(mixture, 2)
    x = torch.linspace(-7, 7, 57, dtype=torch.float64)[:, None]
    exact = end.quantile(start.cdf(x[:, 0].numpy()))
    got = reference_solution(mixture, x, 3.0, check=0).end[:, 0].numpy()
    # measured 2e-5: the last Euler step from 0.002, |Q| sigma^2 / 2
    np.testing.assert_allclose(got, exact, rtol=0, atol=6e-5)


@pytest.mark.parametrize("solver", SINGLE_STEP)
@pytest.mark.parametrize("K", [1, 2, 3, 18])
def test_calls_are_counted(solver, K):
    counting = CountingDenoiser(Gaussian(0.5))
    solve(counting, 80 * normal(4, 1), baseline_schedule("edm", K, 80.0, 0.002), solver)
    assert (
        counting.calls
        == nfe(solver, K)
        == {"euler": K, "heun": 2 * K - 1, "rk4": 4 * K - 3}[solver]
    )
    assert isinstance(counting, Denoiser) and counting.digest == Gaussian(0.5).digest


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_step_is_the_denoiser(solver):
    gaussian = Gaussian(0.5, dim=2)
    x = 80 * normal(5, 2)
    got = solve(gaussian, x, Schedule((80.0, 0.0)), solver)
    np.testing.assert_allclose(got, gaussian(x, 80.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_linear_flow_is_solved_exactly(solver):
    """A point mass: D = m, x(sigma) = m + sigma z; every solver is exact on straight lines."""

    class Point:
        shape, sigma_data, label_dim, digest = (2,), 1.0, 0, "0" * 64

        def __call__(self, x, sigma, class_labels=None):
            return torch.full_like(x, 0.25)

    end = solve(Point(), 80 * normal(3, 2), Schedule((80.0, 7.0, 0.3, 0.0)), solver)
    np.testing.assert_allclose(end, 0.25, atol=1e-13)


def test_callback_sees_every_level_and_the_end():
    seen = []
    schedule = Schedule((4.0, 1.0, 0.1, 0.0))
    end = solve(
        Gaussian(0.5), normal(3, 1), schedule, "heun", callback=lambda *args: seen.append(args)
    )
    assert [(k, sigma) for k, sigma, _ in seen] == list(enumerate(schedule.sigmas))
    assert torch.equal(seen[-1][2], end)


def test_the_state_keeps_float64_with_a_float32_model():
    class Single(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x.float(), torch.as_tensor(sigma).float())

    model, x = Single(0.5, dim=2), normal(3, 2)
    assert drift(model, x, 1.0).dtype == torch.float64
    assert solve(model, x, Schedule((4.0, 1.0, 0.0)), "rk4").dtype == torch.float64


def test_class_labels_reach_the_model():
    class Labelled(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return class_labels.to(x.dtype)

    labels = torch.eye(2)[torch.tensor([0, 1, 1])]
    for solver in SOLVERS:
        end = solve(Labelled(0.5, dim=2), normal(3, 2), Schedule((4.0, 1.0, 0.0)), solver, labels)
        np.testing.assert_allclose(end, labels, atol=1e-13)


def test_unknown_solver():
    for call in (
        lambda: nfe("eulr", 3),
        lambda: solve(Gaussian(0.5), normal(1, 1), Schedule((1.0, 0.0)), "eulr"),
    ):
        with pytest.raises(ArtRLError, match="unknown solver 'eulr'; known: euler, heun, rk4"):
            call()
    with pytest.raises(ArtRLError, match="number of steps"):
        nfe("euler", 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("solver", SOLVERS)
def test_half_precision_states_are_refused_by_name(solver, dtype):
    """They gave NaN, or an answer with two digits, without a word; the network may compute in half."""

    class Half(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x, sigma).to(dtype)

    x = 80 * torch.randn(4, 2, dtype=torch.float64)
    schedule = baseline_schedule("edm", 12, 80.0, 0.002)
    with pytest.raises(ArtRLError, match=rf"x \(states\) must be float64 or float32, got {dtype}"):
        solve(Gaussian(0.5, dim=2), x.to(dtype), schedule, solver)
    with pytest.raises(ArtRLError, match="got torch"):
        run_levels(Gaussian(0.5, dim=2), x.to(dtype), torch.tensor(schedule.sigmas), solver)
    end = solve(Half(0.5, dim=2), x, schedule, solver)
    exact = solve(Gaussian(0.5, dim=2), x, schedule, solver)
    assert end.dtype == torch.float64
    torch.testing.assert_close(end, exact, rtol=0.1, atol=0.05)
