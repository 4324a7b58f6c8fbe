"""Critics J(t, psi[, x]) and the moment conditions they are fitted by.

    delta_k = J(k+1) - J(k) + r_k,   r_k = -cost_k - gamma theta_k dt
    critic += a_c sum_k dJ(k)/d parameters * A_k                                              (29a)
    A_k = delta_k + trace A_{k+1}     (trace = 0: the paper's delta_k; 1: Monte-Carlo return minus J)

What is known of J is built in and not learned: the exploratory term of Theorem 1 (V_lambda = V + lambda t)
and what the multiplier pays for the distance still to go,
    J(t, x, psi) = V(t, x, psi) + lambda t - gamma (T - psi),      J(T) = lambda T
so that a change of gamma or lambda does not make the network start again.
"""

import torch
from torch import Tensor, nn

from art_rl.control.config import LearnerConfig
from art_rl.control.environment import Environment, Observation
from art_rl.control.networks import LogDensity, Modulation, SmallNet, base_density, encode


class Critic(nn.Module):
    """Base: V of the module's docstring, J, and J's slope along the flow."""

    gamma = 0.0

    def total(
        self, step: Tensor | int, steps: int, observation: Observation, lambda_: float
    ) -> Tensor:
        """J = V + lambda t - gamma (T - psi), shape of ``observation.sigma``."""
        T = self.lattice.sigma_max
        known = lambda_ * T * torch.as_tensor(step, dtype=torch.float64) / steps
        return self.value(step, steps, observation) + known - self.gamma * observation.sigma

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        raise NotImplementedError

    def slope(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        """grad_x J . F + dJ/dpsi, the derivative along the flow per unit psi, in eq. 18."""
        with torch.enable_grad():
            sigma = observation.sigma.detach().requires_grad_(True)
            features = observation.features.detach().requires_grad_(True)
            moved = Observation(sigma, observation.q, features)
            total = self.value(step, steps, moved).sum()
            by_sigma, by_features = torch.autograd.grad(total, (sigma, features), allow_unused=True)
        result = self.gamma - by_sigma
        if by_features is not None and observation.slope is not None:
            result = result + (by_features * observation.slope).sum(-1)
        return result.detach()


class ShapedCritic(Critic):
    """V = -(I(psi) exp(c(psi, x)))^2 / (T - t) with I the integral of a learned density.

    The exact value function of the time-only problem has this form with I = int sqrt(mean |Q|).
    """

    def __init__(
        self,
        environment: Environment,
        config: LearnerConfig,
        cost_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        lattice = environment.lattice
        self.lattice = lattice
        base = base_density(config.base, lattice.middles, lattice.sigma_min, config.rho)
        base = base / (base * lattice.widths).sum() * (cost_scale * lattice.sigma_max) ** 0.5
        size = (config.hidden, config.layers, generator)
        self.density = LogDensity(lattice, base, *size)
        features = environment.num_features if config.state == "full" else 0
        self.modulation = Modulation(lattice, features, *size)

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        left = torch.as_tensor(steps - step, dtype=torch.float64) * self.lattice.sigma_max / steps
        remaining = self.lattice.evaluate(self.density()[1], observation.sigma)
        growth = torch.exp(self.modulation(observation.sigma, observation.features))
        return -((remaining * growth) ** 2) / left


class NetworkCritic(Critic):
    """V = (T - t) / T * scale * (net(t, psi[, x]) - 1)."""

    def __init__(
        self,
        environment: Environment,
        config: LearnerConfig,
        cost_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.lattice, self.cost_scale = environment.lattice, cost_scale
        self.features = environment.num_features if config.state == "full" else 0
        inputs = 1 + encode(torch.zeros(1)).shape[-1] + self.features
        self.net = SmallNet(inputs, config.hidden, config.layers, generator)

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        sigma = observation.sigma
        time = torch.as_tensor(step / steps, dtype=sigma.dtype).expand(sigma.shape)
        parts = [time[..., None], encode(self.lattice.coordinate(sigma))]
        if self.features:
            parts.append(observation.features)
        return (1 - time) * self.cost_scale * (self.net(torch.cat(parts, -1)) - 1)


def least_squares_values(observation: Observation, returns: Tensor, use_features: bool) -> Tensor:
    """Per-step regression of returns (n, B) on (1, z, z^2[, features]); fitted values (n, B).

    z is the standardised log level of the batch at that step.  A small ridge keeps step 0, where all
    levels agree, regular.
    """
    z = torch.log(observation.sigma.abs() + 1e-3)
    z = (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-9)
    columns = [torch.ones_like(z), z, z**2]
    design = torch.stack(columns, -1)
    if use_features:
        design = torch.cat([design, observation.features], -1)
    gram = design.transpose(1, 2) @ design / design.shape[1]
    gram = gram + 1e-6 * torch.eye(design.shape[-1], dtype=design.dtype)
    moment = design.transpose(1, 2) @ returns[..., None] / design.shape[1]
    return (design @ torch.linalg.solve(gram, moment))[..., 0]


def td_errors(values: Tensor, terminal: Tensor, rewards: Tensor) -> Tensor:
    """delta_k = J(k+1) - J(k) + r_k; values and rewards (n, B), terminal (B,)."""
    return torch.cat([values[1:], terminal[None]]) - values + rewards


def traced(deltas: Tensor, trace: float) -> Tensor:
    """A_k = sum_j trace^j delta_(k+j), (n, B)."""
    result = deltas.clone()
    for k in range(len(deltas) - 2, -1, -1):
        result[k] += trace * result[k + 1]
    return result
