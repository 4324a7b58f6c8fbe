"""Actors for a clock of K steps: Gaussian policies over its K - 1 interior levels.

ShareActor spends a share of what remains.

Clock coordinate u in [0, 1]: the share of the base density spent so far, so that the base schedule
is u_k = k / K.  The learned node density is the base density times exp(network), the network a linear
spline in tau = log(1 + sigma / sigma_min) with one coefficient per knot.  In u:

    d(u) = exp(sum_j c_j hat_j(tau(u))),    D(u) = int_u^1 d

Step k from u spends the share 1 / (K - k) of what remains: the mean level m solves
D(m) = (1 - 1 / (K - k)) D(u).  Wherever exploration has led, the rest is re-planned and step K lands
on sigma = 0.  The action is the share of the remaining clock, in logits,

    y = logit((u_next - u) / (1 - u)),    y ~ N(mu, noise^2),    mu = logit((m - u) / (1 - u))

so that every sample is a valid schedule (no clamp, the log-probability is the Gaussian's) and, for
steps small against the rest, noise is relative to the step.  The feedback form is that of the exact
optimum theta* = I(psi) / ((T - t) sqrt(q)) of the time-only problem (docs/method.md).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.schedules.hand_made import Density, grid_from_density

CELLS = 1024
KNOTS = 20


@dataclass(frozen=True)
class Episode:
    """N sampled clocks: states, actions and the policy's means, all float64.

    Attributes:
        u: (N, K) clock before each step; u[:, 0] = 0.
        actions: (N, K - 1) sampled y; the last step, to sigma = 0, is not a decision.
        means: (N, K - 1) mu at the states visited.
        gradients: (N, K - 1, J) d mu / d coefficients at the states visited, or None.
        sigmas: (N, K + 1) levels, first sigma_max, last exactly 0.
    """

    u: Tensor
    actions: Tensor
    means: Tensor
    gradients: Tensor | None
    sigmas: Tensor

    def first(self, count: int) -> "Episode":
        """The first ``count`` clocks."""
        slope = None if self.gradients is None else self.gradients[:count]
        return Episode(
            self.u[:count], self.actions[:count], self.means[:count], slope, self.sigmas[:count]
        )


class _Landing(NamedTuple):
    """Where the mean of a step lands: the clock's cell and share before, cell and part after, level m."""

    keep: np.ndarray
    here: np.ndarray
    share: np.ndarray
    cell: np.ndarray
    part: np.ndarray
    drop: np.ndarray
    m: np.ndarray


class ShareActor:
    """Density, its gradient and the policy's mean on a lattice of the clock.

    Args:
        density: base node density r(sigma) on [0, sigma_max]; see baselines.grid_from_density.
        sigma_max, sigma_min: range in data units; sigma_min > 0 only sets where tau turns linear.
        knots: J, number of spline knots, >= 2.
    """

    # Decisions per interior level.
    PER_LEVEL: ClassVar = 1

    def __init__(
        self, density: Density, K: int, sigma_max: float, sigma_min: float, knots: int = KNOTS
    ) -> None:
        self.K, self.sigma_max, self.sigma_min = K, sigma_max, sigma_min
        lattice = torch.from_numpy(grid_from_density(density, CELLS, sigma_max))
        self.tau = torch.log1p(lattice / sigma_min)
        position = self.tau / self.tau[0] * (knots - 1)
        index = position.floor().long().clamp(max=knots - 2)
        share = position - index
        self.hats = torch.zeros(CELLS + 1, knots, dtype=torch.float64)
        rows = torch.arange(CELLS + 1)
        self.hats[rows, index] = 1 - share
        self.hats[rows, index + 1] = share

    @property
    def decisions(self) -> int:
        """Decisions of an episode."""
        return self.PER_LEVEL * (self.K - 1)

    def start(self) -> Tensor:
        """(J,) coefficients of the base schedule: zeros."""
        return torch.zeros(self.hats.shape[1], dtype=torch.float64)

    def sigma(self, u: Tensor) -> Tensor:
        """Levels of clock values u in [0, 1]; any shape; 0 exactly at u = 1."""
        index, share = map(torch.from_numpy, _cell(u.numpy()))
        return self.sigma_min * torch.expm1(
            (1 - share) * self.tau[index] + share * self.tau[index + 1]
        )

    def remaining(self, coefficients: Tensor) -> Tensor:
        """D at the lattice (CELLS + 1,); trapezoid rule."""
        return _from_the_end(torch.exp(self.hats @ coefficients))

    def mean(self, u: Tensor, k: int | Tensor, remaining: Tensor) -> Tensor:
        """mu of step ``k`` from clock ``u``; shape of ``u``, ``k`` broadcasts against it."""
        return _logit_share(u, torch.from_numpy(self._land(u, k, remaining.numpy()).m))

    def gradient(self, u: Tensor, k: int | Tensor, coefficients: Tensor) -> Tensor:
        """d mu / d coefficients, (*u.shape, J).

        D(m; c) = share D(u; c) gives D'(m) dm/dc = share dD(u)/dc - dD(m)/dc, with D' = -density.
        """
        density = torch.exp(self.hats @ coefficients)
        slopes = _from_the_end(density[:, None] * self.hats)
        land = self._land(u, k, _from_the_end(density).numpy())
        cell, part, here, share = map(
            torch.from_numpy, (land.cell, land.part, land.here, land.share)
        )
        keep = torch.as_tensor(land.keep, dtype=torch.float64)[..., None]
        moved = _mix(slopes, cell, part) - keep * _mix(slopes, here, share)
        m = torch.from_numpy(land.m)
        # d logit((m - u) / (1 - u)) / dm
        steep = 1 / (m - u) + 1 / (1 - m)
        return moved * (steep / (CELLS * torch.from_numpy(land.drop)))[..., None]

    def _land(self, u: Tensor | np.ndarray, k: int | Tensor, remaining: np.ndarray) -> _Landing:
        """In numpy, on the tensors' memory: some twenty operations on a few dozen numbers per step."""
        u = np.asarray(u)
        keep = 1 - 1 / (self.K - np.asarray(k))
        index, share = _cell(u)
        before = remaining.take(index)
        target = keep * (before + share * (remaining.take(index + 1) - before))
        cell = (-remaining).searchsorted(-target, side="right") - 1
        np.minimum(np.maximum(cell, 0, out=cell), CELLS - 1, out=cell)
        left = remaining.take(cell)
        drop = left - remaining.take(cell + 1)
        part = (left - target) / drop
        return _Landing(keep, index, share, cell, part, drop, (cell + part) / CELLS)

    def rollout(
        self, coefficients: Tensor, normals: Tensor, noise: float, gradients: bool = True
    ) -> Episode:
        """Clocks with actions mu + noise * normals.

        Args:
            coefficients: (J,).
            normals: (N, K - 1) standard normal draws; zeros give the mean policy.
            noise: standard deviation of y, >= 0.
            gradients: compute d mu / d coefficients too.
        """
        remaining = self.remaining(coefficients).numpy()
        # The odds against a share, (1 - u_next) / (u_next - u), are the mean's times exp(-noise * normal).
        factors = torch.exp(-noise * normals.T).numpy()
        u = np.zeros(len(normals))
        clock, middles = [u], []
        with np.errstate(all="ignore"):
            for k in range(self.K - 1):
                m = self._land(u, k, remaining).m
                u = u + (1 - u) / (1 + (1 - m) / (m - u) * factors[k])
                clock.append(u)
                middles.append(m)
        states = torch.from_numpy(np.stack(clock, 1))
        means = _logit_share(states[:, :-1], torch.from_numpy(np.stack(middles, 1)))
        sigmas = torch.cat(
            [self.sigma(states), torch.zeros(len(states), 1, dtype=torch.float64)], 1
        )
        sigmas[:, 0] = self.sigma_max
        slope = None
        if gradients:
            steps = torch.arange(self.K - 1, dtype=torch.float64)
            slope = self.gradient(states[:, :-1], steps, coefficients)
        return Episode(states, means + noise * normals, means, slope, sigmas)

    def levels(self, coefficients: Tensor | None) -> Tensor:
        """(K + 1,) levels of the mean policy, as a rollout has them; None: of the base density."""
        coefficients = self.start() if coefficients is None else coefficients
        zeros = torch.zeros(1, self.decisions, dtype=torch.float64)
        return self.rollout(coefficients, zeros, 0.0, gradients=False).sigmas[0]


def score(episode: Episode, noise: float) -> Tensor:
    """(N, K - 1, J) d log pi / d coefficients: the eta of (29b)."""
    scaled = (episode.actions - episode.means) / noise**2
    return scaled[:, :, None] * given(episode.gradients, "gradients")


def _logit_share(u: Tensor, m: Tensor) -> Tensor:
    """logit((m - u) / (1 - u)) = log(m - u) - log(1 - m)."""
    return torch.log(m - u) - torch.log(1 - m)


def _cell(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lattice cell of each clock value >= 0 and the position inside it."""
    position = u * CELLS
    index = np.minimum(position.astype(np.int64), CELLS - 1)
    return index, position - index


def _mix(table: Tensor, index: Tensor, share: Tensor) -> Tensor:
    share = share[..., None]
    return (1 - share) * table[index] + share * table[index + 1]


def _from_the_end(values: Tensor) -> Tensor:
    """int_u^1 of lattice values, at every lattice point; the first axis is u."""
    cells = (values[1:] + values[:-1]) / (2 * CELLS)
    integral = torch.zeros_like(values)
    integral[:-1] = cells.flip(0).cumsum(0).flip(0)
    return integral
