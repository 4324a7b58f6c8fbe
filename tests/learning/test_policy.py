"""Policy, actors and critics: log-probabilities, the boundary, moments, Theorem 1."""

import math

import numpy as np
import pytest
import torch
from theorem import exact_speed, exploratory_value, hamiltonian

from art_rl.denoisers import Gaussian
from art_rl.learning import LearnerConfig, TableEnvironment
from art_rl.learning.clock.actor import FeedbackActor, PaperActor, log_prob, policy_std
from art_rl.learning.clock.critic import ShapedCritic, least_squares_values, td_errors, traced
from art_rl.learning.clock.exact import TimeOnlySolution
from art_rl.learning.clock.learner import Learner
from art_rl.learning.table import Observation
from art_rl.schedules.hand_made import grid_from_density

HIGH, LOW, STD = 10.0, 0.002, 0.5


@pytest.fixture(scope="module")
def table():
    generator = torch.Generator().manual_seed(0)
    x = HIGH * torch.randn(64, 1, dtype=torch.float64, generator=generator)
    return TableEnvironment.from_denoiser(Gaussian(STD), x, HIGH, LOW, cells=128)


def randomise(module, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).double())


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_log_prob_and_its_gradient():
    theta, std = levels(0.3, -1.2, 2.0), levels(0.5, 1.0, 0.1)
    mean = levels(0.1, 0.4, 2.05).requires_grad_(True)
    value = log_prob(theta, mean, std)
    exact = torch.distributions.Normal(mean.detach(), std).log_prob(theta)
    torch.testing.assert_close(value.detach(), exact)
    (gradient,) = torch.autograd.grad(value.sum(), mean)
    torch.testing.assert_close(gradient, ((theta - mean) / std**2).detach())


def test_variance_has_both_floors():
    std = policy_std(levels(4.0, 0.01, 0.0), levels(1.0, 1.0, 1e-14), 0.09)
    torch.testing.assert_close(std, torch.sqrt(0.09 / levels(4.0, 0.1, 1e-12)))


@pytest.mark.parametrize("form", ["feedback", "paper"])
@pytest.mark.parametrize("state", ["time", "full"])
def test_log_pi_gradient_against_differences(table, form, state):
    learner = Learner(table, LearnerConfig(form=form, state=state, batch=8, hidden=6))
    randomise(learner.actor)
    seen, theta, *_ = learner.roll_out()
    index = torch.arange(learner.steps, dtype=torch.float64)[:, None]
    last = -1 if learner.actor.lands else None
    std = learner.std(seen)[:last]

    def score():
        mean = learner.actor.mean(learner.actor.prepare(), index, learner.steps, seen)
        return log_prob(theta[:last], mean[:last], std).sum()

    for parameter in learner.actor.parameters():
        (gradient,) = torch.autograd.grad(score(), parameter)
        direction = torch.randn(
            parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
        )
        h = 1e-6
        with torch.no_grad():
            parameter += h * direction
            above = score()
            parameter -= 2 * h * direction
            below = score()
            parameter += h * direction
        exact = float((gradient * direction).sum())
        assert float((above - below) / (2 * h)) == pytest.approx(exact, rel=2e-5, abs=1e-5)


def test_sampled_actions_are_never_clamped(table):
    """Huge noise: actions go negative and overshoot T; each is the mean plus what was drawn."""
    config = LearnerConfig(form="paper", noise=3.0, noise_final=3.0, batch=64)
    learner = Learner(table, config)
    seen, theta, _, cost, sigma_end = learner.roll_out()
    assert (theta < 0).any() and (seen.sigma < 0).any() and (seen.sigma > HIGH).any()
    # psi moved by exactly theta dt: nothing was cut.
    path = torch.cat([seen.sigma, sigma_end[None]])
    torch.testing.assert_close(path[:-1] - path[1:], theta * learner.dt, rtol=0, atol=1e-11)
    # The standardised action is the standard normal that was drawn: log pi belongs to it.
    index = torch.arange(learner.steps, dtype=torch.float64)[:, None]
    with torch.no_grad():
        mean = learner.actor.mean(learner.actor.prepare(), index, learner.steps, seen)
    drawn = (theta - mean) / learner.std(seen)
    again = Learner(table, config)
    again.table.start(64, again.generator)
    for row in drawn:
        noise = torch.randn(64, dtype=torch.float64, generator=again.generator)
        torch.testing.assert_close(row, noise, rtol=1e-6, atol=1e-8)
    # Costs stay those of |Q| held at its end value, and positive for negative speeds too.
    assert (cost >= 0).all()


def test_feedback_lands_exactly_whatever_happened(table):
    learner = Learner(table, LearnerConfig(noise=2.0, batch=64))
    randomise(learner.actor)
    seen, *_, sigma_end = learner.roll_out()
    assert (seen.sigma < 0).any()
    assert float(sigma_end.abs().max()) < 1e-12


def test_actors_start_at_the_base_clock(table):
    generator = torch.Generator().manual_seed(0)
    K = 48
    density = lambda sigma: np.maximum(sigma, LOW) ** (1 / 7 - 1)  # noqa: E731
    edm = torch.as_tensor(grid_from_density(density, K, HIGH))
    for actor_class in (FeedbackActor, PaperActor):
        actor = actor_class(table, LearnerConfig(), generator)
        sigma, path = levels(HIGH), [HIGH]
        for k in range(K):
            with torch.no_grad():
                theta = actor.mean(actor.prepare(), k, K, Observation(sigma, sigma))
            sigma = sigma - theta * HIGH / K
            path.append(float(sigma))
        # Integrated by midpoints on 128 cells of the lattice: measured below 1e-3.
        torch.testing.assert_close(levels(*path), edm, rtol=3e-3, atol=1e-5)


def test_feedback_tends_to_the_exact_speed(table):
    """With d = sqrt(q) and many steps left, mu = I / ((T - t) d)."""
    config = LearnerConfig()
    actor = FeedbackActor(table, config, torch.Generator().manual_seed(0))
    q = (table.mean_q[1:] + table.mean_q[:-1]) / 2
    actor.density.base = torch.sqrt(q)
    solution = TimeOnlySolution(table)
    sigma, steps = levels(8.0, 2.0, 0.3, 0.05), 20000
    with torch.no_grad():
        mean = actor.mean(actor.prepare(), steps // 4, steps, Observation(sigma, sigma))
    torch.testing.assert_close(mean, exact_speed(solution, HIGH / 4, sigma), rtol=1e-3, atol=0)


def test_moments_by_hand():
    values, rewards = levels(1.0, 2.0, 4.0)[:, None], levels(0.5, -1.0, 0.25)[:, None]
    deltas = td_errors(values, levels(3.0), rewards)
    torch.testing.assert_close(deltas[:, 0], levels(1.5, 1.0, -0.75))
    torch.testing.assert_close(traced(deltas, 0.0), deltas)
    torch.testing.assert_close(traced(deltas, 0.5)[:, 0], levels(1.8125, 0.625, -0.75))
    # trace = 1: Monte-Carlo return minus value.
    torch.testing.assert_close(traced(deltas, 1.0)[:, 0], levels(1.75, 0.25, -0.75))


def test_least_squares_critic_recovers_a_quadratic():
    generator = torch.Generator().manual_seed(0)
    sigma = torch.rand(3, 200, dtype=torch.float64, generator=generator) + 0.1
    log = torch.log(sigma + 1e-3)
    returns = 2 - 3 * log + 0.5 * log**2
    fitted = least_squares_values(Observation(sigma, sigma), returns, use_features=False)
    torch.testing.assert_close(fitted, returns, rtol=0, atol=1e-4)


def test_shaped_critic_holds_the_exact_value(table):
    critic = ShapedCritic(table, LearnerConfig(), 1.0, torch.Generator().manual_seed(0))
    critic.density.base = torch.sqrt((table.mean_q[1:] + table.mean_q[:-1]) / 2)
    solution = TimeOnlySolution(table)
    sigma = levels(HIGH, 3.0, 0.4, 0.01)
    value = critic.value(16, 64, Observation(sigma, sigma))
    torch.testing.assert_close(value, solution.value(HIGH / 4, sigma))
    # Its slope gives the optimal mean (18) with gamma = 0: theta* = V_psi / (2 q).
    inner = levels(3.0, 0.4)
    slope = critic.slope(16, 64, Observation(inner, inner))
    cell = table.lattice.locate(inner).cell
    q = (table.mean_q[cell] + table.mean_q[cell + 1]) / 2
    torch.testing.assert_close(slope / (2 * q), exact_speed(solution, HIGH / 4, inner))


def test_multiplier_value_solves_its_bellman_equation(table):
    """V_t + max_theta((V_psi - gamma) theta - q theta^2) = 0 for V = c^2 (T-t) - 2 c I - gamma sigma."""
    critic = ShapedCritic(table, LearnerConfig(form="paper"), 1.0, torch.Generator().manual_seed(0))
    solution = TimeOnlySolution(table)
    c = float(solution.integral[-1]) / HIGH
    critic.rate = c**2
    critic.density.base = 2 * c * torch.sqrt((table.mean_q[1:] + table.mean_q[:-1]) / 2)
    critic.gamma = -2 * c * float(table.mean_q[0]) ** 0.5
    sigma = levels(6.0, 1.0, 0.1)
    cell = table.lattice.locate(sigma).cell
    q = (table.mean_q[cell] + table.mean_q[cell + 1]) / 2
    mean = (critic.slope(10, 64, Observation(sigma, sigma)) - critic.gamma) / (2 * q)
    torch.testing.assert_close(mean, c / torch.sqrt(q))  # q theta^2 constant
    h = 1e-3
    later = critic.value(10 + h, 64, Observation(sigma, sigma))
    now = critic.value(10, 64, Observation(sigma, sigma))
    by_time = (later - now).detach() / (h * HIGH / 64)
    torch.testing.assert_close(by_time + q * mean**2, torch.zeros(3).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("lambda_", [0.01, 0.3, 4.0])
def test_theorem_1_the_best_mean_does_not_depend_on_lambda(table, lambda_):
    """argmax of the exploratory Hamiltonian over the mean, by quadrature: theta* for every lambda."""
    solution = TimeOnlySolution(table)
    sigma, t = levels(7.0, 1.0, 0.2), 2.0
    cell = table.lattice.locate(sigma).cell
    q = (table.mean_q[cell] + table.mean_q[cell + 1]) / 2
    optimum = exact_speed(solution, t, sigma)
    slope = 2 * q * optimum  # V_psi of the exact V
    factors = torch.linspace(0.5, 1.5, 201, dtype=torch.float64)
    values = torch.stack([hamiltonian(f * optimum, slope, q, lambda_) for f in factors])
    assert (factors[values.argmax(0)] == factors[100]).all()
    # And its maximum is the deterministic one minus lambda (17).
    torch.testing.assert_close(values[100], slope * optimum / 2 - lambda_, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("relative", [0.03, 0.1])
def test_theorem_1_value_is_compensated(table, relative):
    """V_lambda(0, 0) = V(0, 0) by Monte Carlo, up to O(1/steps); a tilted mean is worse."""
    solution = TimeOnlySolution(table)
    exact = float(solution.value(0.0, levels(HIGH)))
    lambda_ = relative**2 * -exact / HIGH
    value, error = exploratory_value(solution, lambda_, 400, 400, seed=1)
    # Time discretisation: lambda T / steps times a few; measured 1e-4 to 6e-4 of |V|.
    assert value == pytest.approx(exact, rel=2e-3)
    assert error < 1e-3 * abs(exact)
    tilted, _ = exploratory_value(solution, lambda_, 400, 400, seed=1, tilt=0.4)
    # sum of 0.4^2 cos^2 / 2 to second order, some of it recovered by feedback.
    assert tilted < exact - 0.01 * abs(exact)
    assert math.isfinite(tilted)
