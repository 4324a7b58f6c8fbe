"""Natural actor-critic of the measured endpoint error: the critic knows the error as a vector.

The reward -log mean |e|^2 is paid at the end, and all of the vector e = x_K - x_ref(0) of every state is
seen, not only its length.  So the critic is one of vectors: from the mean policy's error e_0 on the same
states (its exact value there) and N schedules with noise eps in +/- pairs,

    e(eps) = e_0 + sum_k G_k eps_k + ...,      eps_k = (y_k - mu_k) / noise

G_k, the advantage of decision k per spread of its action, by least squares on the half differences of the
pairs: linear in the score (compatible features, Sutton et al. 2000), even orders cancel.  Directions are
orthogonal with the lengths of Gaussian draws, so every draw is one of the policy and K - 1 pairs
determine G.  With d eps = M dc, M_k = (d mu_k / d c) / noise, and S = |e_0|^2,

    g = M' G e_0 / S,    H = M' G G' M / S,    F = M' M       gradient, curvature and Fisher matrix
    c <- c - (H + damping F)^-1 g

H is the curvature the critic predicts (Gauss-Newton: Furmston, Lever & Barber 2016); F, the metric of the
natural gradient (Kakade 2001), limits the step where the critic says nothing.  Without H the step is
the plain natural gradient, which crawls along the valleys that errors cancelling between steps make:
eigenvalues of F^-1 H there span four decades (docs/endpoint_reward.md).  The damping is chosen as in TRPO
(Schulman et al. 2015), by a search on the measured errors of the mean policies it gives.

With more decisions than coefficients only M' G matters: the noise is drawn in the span of M's columns, so
that as many pairs as coefficients determine it (exploration of the parameters: Sehnke et al. 2010).

All of it needs inner products of error vectors only, (N + 1)^2 numbers per iteration.

Until the last stage the states are the same in every iteration, few at first and more later (each stage
holds those before): what one iteration finds is not undone by the next one's other states.  In the last
stage every iteration takes other states, as long as there are more, and the policies are averaged: each
is the best for its own states, and their mean is as good as one learned on all of them.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.learning.ensemble import LARGEST_ERROR
from art_rl.learning.policy import PolicyLearner
from art_rl.learning.rewards import EndpointError

__all__ = ["EndpointLearner", "orthogonal_normals"]

ANNEAL_OVER = 0.6  # share of the iterations after which the exploration stays at its last value
# Dampings tried per iteration, times the one that was best before, in units of the mean curvature.
DAMPINGS = (10.0, 1.0, 0.1, 0.01)
DAMPING_BOUNDS = (1e-6, 1e6)
# Of the Fisher matrix, relative to its largest diagonal entry: more coefficients than decisions.
RIDGE = 1e-3
LARGEST_CHANGE = 2.0  # of the log density per iteration
FEWEST_PAIRS = 4
# Early iterations only choose a valley: up to these shares of the iterations, these shares of the points.
STAGES = ((0.25, 1 / 32), (0.5, 1 / 16), (0.8, 1 / 4), (1.0, 1.0))


def orthogonal_normals(pairs: int, decisions: int, generator: torch.Generator) -> Tensor:
    """(pairs, decisions) rows, each standard normal, orthogonal in groups of ``decisions`` rows."""
    groups = []
    for begin in range(0, pairs, decisions):
        square = torch.randn(decisions, decisions, dtype=torch.float64, generator=generator)
        rows = torch.linalg.qr(square).Q[: pairs - begin]
        lengths = torch.randn(len(rows), decisions, dtype=torch.float64, generator=generator)
        groups.append(rows * lengths.norm(dim=1, keepdim=True))
    return torch.cat(groups)


class EndpointLearner(PolicyLearner):
    """See the module's docstring; arguments of `policy.PolicyLearner`, ``draws`` the most per iteration."""

    NOISE: ClassVar = (0.3, 0.02)
    AVERAGE_FROM: ClassVar = STAGES[-2][0]
    REPEATS: ClassVar = True

    reward: EndpointError
    damping = 1.0

    @staticmethod
    def points_at(iteration: int, iterations: int, points: int, least: int) -> int:
        """States of one iteration: few while the valley is chosen, all of ``points`` at the end."""
        share = next(share for end, share in STAGES if iteration < end * iterations)
        return min(points, max(least, round(share * points)))

    @staticmethod
    def pairs(draws: int, decisions: int) -> int:
        """Pairs of draws per iteration: as many as decisions tell all there is to first order."""
        return min(draws // 2, max(decisions, FEWEST_PAIRS))

    @staticmethod
    def runs(draws: int, decisions: int) -> int:
        """Runs of the solver per iteration and state: draws, mean policy, start, new policies."""
        return 2 * EndpointLearner.pairs(draws, decisions) + 2 + len(DAMPINGS)

    def _first(self, points: int) -> int:
        """Of the states of this iteration: in the last stage the next ``points`` every time, else 0."""
        late = self.iteration - math.ceil(STAGES[-2][0] * self.iterations)
        return max(0, late) * points

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics."""
        actor, noise = self.actor, self.noise()
        pairs = self.pairs(self.draws, actor.decisions)
        points = self.points_at(self.iteration, self.iterations, self.points, self.least)
        index = (self._first(points) + torch.arange(points)) % self.reward.learning
        still = torch.zeros(1, actor.decisions, dtype=torch.float64)
        mean = actor.rollout(self.coefficients, still, 0.0)
        M = given(mean.gradients, "gradients")[0] / noise
        half = orthogonal_normals(pairs, min(M.shape), self.generator)
        if len(M) > len(self.coefficients):
            half = half @ torch.linalg.qr(M).Q.T
        normals = torch.cat([half, -half])
        drawn = actor.rollout(self.coefficients, normals, noise, gradients=False)
        errors, products = self.reward.products(torch.cat([drawn.sigmas, mean.sigmas]), index)
        S = float(errors[-1])

        # Half differences of the pairs; a pair that exploded says nothing.
        known = (errors[:-1] < LARGEST_ERROR).reshape(2, pairs).all(0)
        inner = products[:-1, :-1].reshape(2, pairs, 2, pairs)
        differences = (inner[0, :, 0] - inner[0, :, 1] - inner[1, :, 0] + inner[1, :, 1]) / 4
        along = (
            products[:-1, -1].reshape(2, pairs)[0] - products[:-1, -1].reshape(2, pairs)[1]
        ) / 2
        solve = torch.linalg.pinv(half[known])
        G = solve @ differences[known][:, known] @ solve.T / S  # G_k' G_l
        aim = solve @ along[known] / S  # G_k' e_0
        gradient, curvature, fisher = M.T @ aim, M.T @ G @ M, M.T @ M

        policies = [self.coefficients]
        if S < LARGEST_ERROR and known.any():
            eye = torch.eye(len(gradient), dtype=torch.float64)
            metric = fisher + RIDGE * fisher.diagonal().max().clamp_min(1e-300) * eye
            metric = metric * G.diagonal().mean().clamp_min(1e-300)
            for damping in DAMPINGS:
                move = -torch.linalg.solve(curvature + self.damping * damping * metric, gradient)
                move = move * min(1.0, LARGEST_CHANGE / max(float(move.abs().max()), 1e-12))
                policies.append(self.coefficients + move)
        tried = [actor.levels(value) for value in policies[1:]]
        found = self.reward.compare(torch.stack([self.start, *tried]), index)
        best = int(torch.cat([errors[-1:], found[1:]]).argmin())
        move = policies[best] - self.coefficients
        length = float((move @ fisher @ move).clamp_min(0).sqrt())
        self.damping *= DAMPINGS[best - 1] if best else 100.0
        self.damping = min(max(self.damping, DAMPING_BOUNDS[0]), DAMPING_BOUNDS[1])
        self.coefficients = policies[best]
        self._record()
        self.annealed = min(1.0, self.iteration / (ANNEAL_OVER * self.iterations))
        return {
            "budget": actor.K,
            "trial": self.trial,
            "iteration": self.iteration,
            "points": points,
            "noise": noise,
            "draws": float(errors[:-1].log().mean().exp().sqrt()),
            "policy": S**0.5,
            "start": float(found[0].sqrt()),
            "ratio": (S / float(found[0])) ** 0.5,
            "critic_error": _unexplained(errors, normals, aim, G),
            "gradient_norm": float(gradient.norm()),
            "damping": self.damping,
            "step": length,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Tensors and numbers that `restore` continues from."""
        tensors, numbers = super().state()
        return tensors, {**numbers, "damping": self.damping}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        super().restore(tensors, numbers)
        self.damping = numbers["damping"]


def _unexplained(errors: Tensor, normals: Tensor, aim: Tensor, G: Tensor) -> float:
    """Share of the variance of the draws' log errors that the critic does not predict, at most 1."""
    predicted = 1 + 2 * normals @ aim + ((normals @ G) * normals).sum(1)
    actual = (errors[:-1] / errors[-1]).log()
    off = actual - predicted.clamp_min(1e-12).log()
    spread = (actual - actual.mean()).square().mean().clamp_min(1e-12)
    return min(1.0, float((off - off.mean()).square().mean() / spread))
