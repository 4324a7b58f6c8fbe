"""Critics J(t, psi[, x]) and the moment conditions they are fitted by.

    delta_k = J(k+1) - J(k) + r_k,   r_k = -cost_k - gamma theta_k dt
    critic += a_c sum_k dJ(k)/d parameters * A_k                                              (29a)
    A_k = delta_k + trace A_{k+1}     (trace = 0: the paper's delta_k; 1: Monte-Carlo return minus J)

What is known of J is built in and not learned.  The exploratory term of Theorem 1 (V_lambda = V + lambda t)
always; the shapes of the exact value functions of the time-only problem in the "shaped" critics:
    hard end point (feedback)    V = -I(psi)^2 / (T - t)
    multiplier (paper)           V = c^2 (T - t) - 2 c I(psi) - gamma (T - psi),  gamma = -2 c sqrt(q(T))
with I = int_psi^T sqrt(q) and c = I(0) / T; the second solves eq. 9's Bellman equation up to second order
in the distance T - psi left at T (ours, docs/art_rl.md).  J(T) = lambda T.
"""

import torch
from torch import Tensor, nn

from art_rl.checks import given
from art_rl.learning.clock.networks import (
    LogDensity,
    Modulation,
    TimeNet,
    base_density,
    seen_features,
)
from art_rl.learning.lattice import Lattice
from art_rl.learning.table import Observation, TableEnvironment
from art_rl.settings.learners import LearnerConfig


class Critic(nn.Module):
    """Base of the critics.  ``gamma`` is set by the learner before every update."""

    gamma = 0.0
    lattice: Lattice

    def total(
        self, step: Tensor | int, steps: int, observation: Observation, lambda_: float
    ) -> Tensor:
        """J = V + lambda t, shape of ``observation.sigma``."""
        time = self.lattice.sigma_max * torch.as_tensor(step, dtype=torch.float64) / steps
        return self.value(step, steps, observation) + lambda_ * time

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        """V, shape of ``observation.sigma``; ``step`` may be a column (n, 1)."""
        raise NotImplementedError

    def slope(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        """grad_x V . F + dV/dpsi, the derivative along the flow per unit psi, in eq. 18."""
        with torch.enable_grad():
            sigma = observation.sigma.detach().requires_grad_(True)
            if observation.features is None:
                value = self.value(step, steps, Observation(sigma, observation.q))
                return -torch.autograd.grad(value.sum(), sigma)[0]
            features = observation.features.detach().requires_grad_(True)
            value = self.value(step, steps, Observation(sigma, observation.q, features))
            by_sigma, by_features = torch.autograd.grad(value.sum(), (sigma, features))
        return (by_features * given(observation.slope, "slope")).sum(-1) - by_sigma


class ShapedCritic(Critic):
    """I(psi) exp(c(psi, x)) with I the integral of a learned density, in the exact shape of V.

    In the paper's form c^2 is learned as well: a network of (t, psi[, x]) near the base clock's rate.
    """

    def __init__(
        self,
        table: TableEnvironment,
        config: LearnerConfig,
        rate: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        lattice = table.lattice
        self.lattice, self.rate, self.hard_end = lattice, rate, config.form == "feedback"
        # Not the actor's base: the edm density, far too large near 0, would start V far too steep there.
        base = base_density("gaussian", lattice.middles, lattice.sigma_min)
        first = (rate**0.5 if self.hard_end else 2 * rate) * lattice.sigma_max
        base = base / (base * lattice.widths).sum() * first
        size = (config.hidden, generator)
        self.density = LogDensity(lattice, base, *size)
        features = seen_features(table, config)
        self.modulation = Modulation(features, *size)
        if not self.hard_end:
            self.drift = TimeNet(features, *size)

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        """V, shape of ``observation.sigma``; ``step`` may be a column (n, 1)."""
        sigma, features = observation.sigma, observation.features
        left = self.lattice.sigma_max * (1 - torch.as_tensor(step, dtype=torch.float64) / steps)
        place = observation.locate(self.lattice)
        remaining = self.lattice.read(self.density()[1], place)
        remaining = remaining * torch.exp(self.modulation(place.coordinate, features))
        if self.hard_end:
            return -(remaining**2) / left
        drift = self.rate * (1 + self.drift(step, steps, place.coordinate, features))
        return drift * left - remaining - self.gamma * sigma


class NetworkCritic(Critic):
    """V = (1 - t / T) (rate * T * (net(t, psi[, x]) - 1) - gamma (T - psi)), no shape but V(T) = 0."""

    def __init__(
        self,
        table: TableEnvironment,
        config: LearnerConfig,
        rate: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.lattice, self.scale = table.lattice, rate * table.lattice.sigma_max
        features = seen_features(table, config)
        self.net = TimeNet(features, config.hidden, generator)

    def value(self, step: Tensor | int, steps: int, observation: Observation) -> Tensor:
        """V, shape of ``observation.sigma``; ``step`` may be a column (n, 1)."""
        sigma = observation.sigma
        left = 1 - torch.as_tensor(step, dtype=torch.float64) / steps
        coordinate = observation.locate(self.lattice).coordinate
        learned = self.scale * (self.net(step, steps, coordinate, observation.features) - 1)
        return left * (learned - self.gamma * sigma)


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
        design = torch.cat([design, given(observation.features, "features")], -1)
    gram = design.transpose(1, 2) @ design / design.shape[1]
    gram = gram + 1e-6 * torch.eye(design.shape[-1], dtype=design.dtype)
    moment = design.transpose(1, 2) @ returns[..., None] / design.shape[1]
    return (design @ torch.linalg.solve(gram, moment))[..., 0]


def td_errors(values: Tensor, terminal: Tensor, rewards: Tensor) -> Tensor:
    """delta_k = J(k+1) - J(k) + r_k; values and rewards (n, B), terminal (B,)."""
    return torch.cat([values[1:], terminal[None]]) - values + rewards


def traced(deltas: Tensor, trace: float) -> Tensor:
    """A_k = sum_j trace^j delta_(k+j), (n, B)."""
    result = deltas.detach().clone()
    rows = result.numpy()  # a quarter of the time of torch's on rows this short
    for k in range(len(rows) - 2, -1, -1):
        rows[k] += trace * rows[k + 1]
    return result
