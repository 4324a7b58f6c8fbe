"""Theorem 1 of 2601.18681 as numbers: the exploratory Hamiltonian and the value of a Gaussian policy."""

import numpy as np
import torch
from torch import Tensor

from art_rl.learning.clock.exact import TimeOnlySolution


def exact_speed(solution: TimeOnlySolution, t: Tensor | float, sigma: Tensor) -> Tensor:
    """theta*(t, T - sigma); sqrt(q) is that of the cell, the slope of the integral."""
    lattice, q = solution.lattice, solution.q
    place = lattice.locate(sigma)
    root = torch.sqrt((q[place.cell + 1] + q[place.cell]) / 2)
    return lattice.read(solution.integral, place) / ((lattice.sigma_max - t) * root)


def hamiltonian(mean: Tensor, slope: Tensor, q: Tensor, lambda_: float, nodes: int = 32) -> Tensor:
    """E[slope * theta - q theta^2] under N(mean, lambda / q), by Gauss-Hermite quadrature.

    What the exploratory Bellman equation maximises over the policy's mean (entropy is the same for
    every mean); shapes broadcast.
    """
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
