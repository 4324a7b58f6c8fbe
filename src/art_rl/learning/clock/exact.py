"""The time-only problem's exact solution, and how far a critic is from it.

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
    """V of the mean |Q| of a table's learning trajectories."""

    def __init__(self, table: TableEnvironment) -> None:
        self.lattice, self.q = table.lattice, table.mean_q
        self.integral = sqrt_integral(table, self.q)

    def value(self, t: Tensor | float, sigma: Tensor) -> Tensor:
        """V(t, T - sigma), t < T."""
        return -(self.lattice.evaluate(self.integral, sigma) ** 2) / (self.lattice.sigma_max - t)


def critic_error(critic: Critic, table: TableEnvironment) -> float:
    """Largest |J - lambda t - V| / |V(0, 0)| of a learned critic near the optimal clock.

    Checked at t = 0, 1/4, 1/2, 3/4 of T and levels within a factor exp(+-1/2) of the optimal one.
    For critics of (t, psi).
    """
    solution = TimeOnlySolution(table)
    steps, T = 64, table.lattice.sigma_max
    worst = 0.0
    for k in (0, steps // 4, steps // 2, 3 * steps // 4):
        share = solution.integral[-1] * (1 - k / steps)
        level = table.lattice.invert(solution.integral, share)
        factors = torch.exp(torch.linspace(-0.5, 0.5, 9, dtype=torch.float64))
        sigma = (level * factors).clamp_max(T)
        seen = Observation(sigma, torch.zeros_like(sigma))
        exact = solution.value(k * T / steps, sigma)
        with torch.no_grad():
            learned = critic.value(k, steps, seen)
        scale = float(solution.value(0.0, torch.tensor(T, dtype=torch.float64)).abs())
        worst = max(worst, float((learned - exact).abs().max()) / scale)
    return worst
