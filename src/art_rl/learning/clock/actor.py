"""The Gaussian policy and the two forms of its mean.

    pi(. | t, x, psi) = N(mu(t, x, psi), lambda / max(|Q(x, psi)|, eps))                       (11)

feedback   mu = (psi(sigma') - psi) / dt, where sigma' is the level at which a share of the remaining
           integral I(sigma) = int_0^sigma d is spent,
               I(sigma') = I(sigma) (1 - 1/m)^exp(c(psi, x)),        m steps left;
           for many steps this is mu = exp(c) I / ((T - t) d), the shape of the exact optimum.  The last
           step (m = 1) lands on sigma = 0 and is not sampled, so the budget (6) is met exactly.
paper      mu = mu_base(psi) exp(net(t, psi, x)), an open theta; the multiplier gamma meets the budget on
           average (9), (30).  mu_base is one step of the base clock from wherever psi is.
optimal    mu = (dV/dpsi along the flow - gamma) / (2 |Q|) from the critic (18), in either form.

Actions are never clamped: a sampled theta may be negative or overshoot psi = T, |Q| goes on with its
last value there, and log pi is that of the action which was taken.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from art_rl.learning.clock.critic import Critic
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

# The open actor may change the base clock's log-speed by at most this: far more than any optimum needs,
# and a run whose gamma was once wrong can come back.
_LARGEST_CHANGE = 5.0
# Floors of |Q| in the policy's variance: absolute (eps of eq. 11), and relative to the mean |Q| at the
# level (ours: |Q| passes through zero along trajectories in one dimension).
Q_FLOOR, Q_FLOOR_RELATIVE = 1e-12, 0.1


def policy_std(q: Tensor, mean_q: Tensor, lambda_: float) -> Tensor:
    """Standard deviation of eq. 11 with both floors on |Q|; shape of ``q``."""
    floor = np.maximum(Q_FLOOR_RELATIVE * mean_q.numpy(), Q_FLOOR)
    np.maximum(q.numpy(), floor, out=floor)
    np.reciprocal(floor, out=floor)
    floor *= lambda_
    return torch.from_numpy(floor).sqrt_()


def log_prob(theta: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(theta; mean, std^2), elementwise."""
    return -0.5 * ((theta - mean) / std) ** 2 - torch.log(std) - 0.5 * math.log(2 * math.pi)


class Actor(nn.Module):
    """Base of the forms of mu.

    Attributes:
        lands: whether the last step ends on sigma = 0, which is then not sampled.
    """

    lands: bool
    lattice: Lattice

    def prepare(self) -> Tensor:
        """What `mean` needs once per rollout, or once per gradient; an empty tensor: nothing."""
        return torch.empty(0)

    def mean(
        self, prepared: Tensor, step: Tensor | int, steps: int, observation: Observation
    ) -> Tensor:
        """mu for clock step(s) ``step`` of ``steps``; shape of ``observation.sigma``."""
        raise NotImplementedError


class FeedbackActor(Actor):
    """mu by the remaining integral; see the module's docstring."""

    lands = True

    def __init__(
        self, table: TableEnvironment, config: LearnerConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        lattice = table.lattice
        base = base_density(config.base, lattice.middles, lattice.sigma_min)
        base = base / (base * lattice.widths).sum()
        size = (config.hidden, generator)
        self.lattice = lattice
        self.density = LogDensity(lattice, base, *size)
        features = seen_features(table, config)
        self.modulation = Modulation(features, *size)

    def prepare(self) -> Tensor:
        """I at the nodes."""
        return self.density()[1]

    def mean(
        self, prepared: Tensor, step: Tensor | int, steps: int, observation: Observation
    ) -> Tensor:
        """mu for clock step(s) ``step`` of ``steps``; shape of ``observation.sigma``."""
        sigma = observation.sigma
        place = observation.locate(self.lattice)
        if isinstance(step, int):
            # One clock step of a rollout.
            if step == steps - 1:
                return sigma * (steps / self.lattice.sigma_max)
            kept: Tensor | float = 1 - 1 / (steps - step)
            left = None
        else:
            left = torch.as_tensor(steps - step, dtype=sigma.dtype)
            kept = 1 - 1 / left
        if self.modulation.num_features:
            kept = kept ** torch.exp(self.modulation(place.coordinate, observation.features))
        landing = self.lattice.invert(prepared, self.lattice.read(prepared, place) * kept)
        if left is not None:
            landing = torch.where(left > 1, landing, torch.zeros_like(landing))
        return (sigma - landing) * (steps / self.lattice.sigma_max)


class PaperActor(Actor):
    """mu as an open network of (t, psi[, x]) relative to one step of the base clock."""

    lands = False

    def __init__(
        self, table: TableEnvironment, config: LearnerConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        lattice = self.lattice = table.lattice
        base = base_density(config.base, lattice.middles, lattice.sigma_min)
        self.integral = lattice.integral(base)
        features = seen_features(table, config)
        self.net = TimeNet(features, config.hidden, generator)

    def mean(
        self, prepared: Tensor, step: Tensor | int, steps: int, observation: Observation
    ) -> Tensor:
        """mu for clock step(s) ``step`` of ``steps``; shape of ``observation.sigma``."""
        sigma, lattice = observation.sigma, self.lattice
        place = observation.locate(lattice)
        target = lattice.read(self.integral, place) - self.integral[-1] / steps
        base = (sigma - lattice.invert(self.integral, target)) * (steps / lattice.sigma_max)
        change = self.net(step, steps, place.coordinate, observation.features)
        return base * torch.exp(_LARGEST_CHANGE * torch.tanh(change / _LARGEST_CHANGE))


class OptimalActor(Actor):
    """mu of eq. 18 from the critic's slope along the flow; has no parameters of its own.

    With the feedback form gamma is 0 (the critic knows the hard end point) and the last step lands.
    """

    def __init__(self, table: TableEnvironment, config: LearnerConfig, critic: Critic) -> None:
        super().__init__()
        self.lattice, self.config, self.mean_q = table.lattice, config, table.mean_q
        self.lands = config.form == "feedback"
        # In a tuple: the critic's parameters belong to the critic, not to this module.
        self._critic = (critic,)
        self.gamma = 0.0

    def mean(
        self, prepared: Tensor, step: Tensor | int, steps: int, observation: Observation
    ) -> Tensor:
        """mu for clock step(s) ``step`` of ``steps``; shape of ``observation.sigma``."""
        sigma = observation.sigma
        slope = self._critic[0].slope(step, steps, observation)
        mean_q = self.lattice.read(self.mean_q, observation.locate(self.lattice).inside())
        q = mean_q
        if self.config.state == "full":
            q = torch.maximum(observation.q, Q_FLOOR_RELATIVE * mean_q)
        mean = (slope - self.gamma) / (2 * q.clamp_min(Q_FLOOR))
        if not self.lands:
            return mean
        last = torch.as_tensor(step == steps - 1)
        return torch.where(last, sigma * (steps / self.lattice.sigma_max), mean)
