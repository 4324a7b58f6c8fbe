"""The time-only problem's exact solution, and Theorem 1 as numbers.

With q(sigma) = mean |Q| and I(psi) = int_psi^T sqrt(q):
    V(t, psi)     = -I(psi)^2 / (T - t)
    theta*(t, psi) = I(psi) / ((T - t) sqrt(q(psi)))
Theorem 1 (2601.18681, eq. 11, 17, 18): under N(mu, lambda / |Q|) the value is V + lambda t and the best
mean is theta*, whatever lambda.
"""

import torch
from torch import Tensor

from art_rl.learning.clock.critic import Critic
from art_rl.learning.evaluate import sqrt_integral
from art_rl.learning.table import Observation, TableEnvironment


class TimeOnlySolution:
    """V and theta* of a mean profile given at the nodes of a table's lattice.

    Args:
        table: supplies lattice and, with ``q`` None, the mean |Q| of the learning trajectories.
        q: (nodes,) another profile.
    """

    def __init__(self, table: TableEnvironment, q: Tensor | None = None) -> None:
        self.lattice = table.lattice
        self.q = table.mean_q if q is None else q
        self.integral = sqrt_integral(table, self.q)

    def value(self, t: Tensor | float, sigma: Tensor) -> Tensor:
        """V(t, T - sigma), t < T."""
        return -(self.lattice.evaluate(self.integral, sigma) ** 2) / (self.lattice.sigma_max - t)

    def speed(self, t: Tensor | float, sigma: Tensor) -> Tensor:
        """theta*(t, T - sigma); sqrt(q) is that of the cell, the slope of the integral."""
        place = self.lattice.locate(sigma)
        root = torch.sqrt((self.q[place.cell + 1] + self.q[place.cell]) / 2)
        remaining = self.lattice.read(self.integral, place)
        return remaining / ((self.lattice.sigma_max - t) * root)


def hamiltonian(mean: Tensor, slope: Tensor, q: Tensor, lambda_: float, nodes: int = 32) -> Tensor:
    """E[slope * theta - q theta^2] under N(mean, lambda / q), by Gauss-Hermite quadrature.

    What the exploratory Bellman equation maximises over the policy's mean (entropy is the same for
    every mean); shapes broadcast.
    """
    import numpy as np

    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    at = torch.as_tensor(points, dtype=torch.float64)
    weight = torch.as_tensor(weights / weights.sum(), dtype=torch.float64)
    theta = mean[..., None] + torch.sqrt(lambda_ / q)[..., None] * at
    return ((slope[..., None] * theta - q[..., None] * theta**2) * weight).sum(-1)


def exploratory_value(
    solution: TimeOnlySolution,
    lambda_: float,
    steps: int,
    samples: int,
    seed: int,
    tilt: float = 0.0,
) -> tuple[float, float]:
    """Monte-Carlo V_lambda(0, 0) of N(theta* (1 + tilt cos(2 pi t / T)), lambda / q) and its error.

    Rewards are compensated by +lambda T, so Theorem 1 says V(0, 0) for tilt = 0 and every lambda, up
    to O(T / steps); a tilt lowers it.

    Returns:
        mean and standard error over ``samples`` (antithetic pairs count once).
    """
    lattice = solution.lattice
    T = lattice.sigma_max
    dt = T / steps
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.full((2 * samples,), T, dtype=torch.float64)
    total = torch.full_like(sigma, lambda_ * T)
    cells = (solution.q[1:] + solution.q[:-1]) / 2
    integral = lattice.integral(cells)
    for k in range(steps):
        t = k * dt
        wave = 1 + tilt * torch.cos(torch.tensor(2 * torch.pi * t / T, dtype=torch.float64))
        # The share form of theta* for a finite step, as in actor.FeedbackActor.
        target = lattice.evaluate(solution.integral, sigma) * (1 - wave / (steps - k))
        landing = lattice.invert(solution.integral, target)
        if k == steps - 1:
            landing = torch.zeros_like(sigma)
        theta = (sigma - landing) / dt
        noise = torch.randn(samples, dtype=torch.float64, generator=generator)
        q = cells[lattice.locate(sigma).cell]
        if k < steps - 1:
            theta = theta + torch.sqrt(lambda_ / q) * torch.cat([noise, -noise])
        following = sigma - theta * dt
        before, after = (lattice.evaluate(integral, level) for level in (sigma, following))
        total = total - theta * (before - after)
        sigma = following
    # The last step is not sampled and so does not pay its lambda dt.
    total = total - lambda_ * dt
    pairs = total.reshape(2, samples).mean(0)
    return float(pairs.mean()), float(pairs.std() / samples**0.5)


def critic_error(
    critic: Critic, table: TableEnvironment, steps: int = 64, width: float = 0.5
) -> float:
    """Largest |J - lambda t - V| / |V(0, 0)| of a learned critic near the optimal clock.

    Checked at t = 0, 1/4, 1/2, 3/4 of T and levels within a factor exp(+-width) of the optimal one.
    For critics of (t, psi).
    """
    solution = TimeOnlySolution(table)
    T = table.lattice.sigma_max
    worst = 0.0
    for k in (0, steps // 4, steps // 2, 3 * steps // 4):
        share = solution.integral[-1] * (1 - k / steps)
        level = table.lattice.invert(solution.integral, share)
        factors = torch.exp(torch.linspace(-width, width, 9, dtype=torch.float64))
        sigma = (level * factors).clamp_max(T)
        seen = Observation(sigma, torch.zeros_like(sigma))
        exact = solution.value(k * T / steps, sigma)
        with torch.no_grad():
            learned = critic.value(k, steps, seen)
        scale = float(solution.value(0.0, torch.tensor(T, dtype=torch.float64)).abs())
        worst = max(worst, float((learned - exact).abs().max()) / scale)
    return worst
