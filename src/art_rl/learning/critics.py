"""Critic of the natural actor-critic: one linear regression per decision, and each action's credit.

V_k(s) = w_k . phi(s), phi = (1, z, z^2), z the clock standardised over the draws of the iteration.
Policy evaluation by least squares on the rewards to go: the projection that (29a)'s martingale condition
E sum_k dV/dw (dV + r) = 0 asks for, solved instead of followed, over past iterations with exponential
forgetting.  An iteration is judged by the critic of the iterations before it, so no draw takes part in
its own baseline.

Credit of decision k with reward r_k (V = 0 after the last one):

    delta_k = r_k + V_{k+1} - V_k,    A_k = delta_k + trace * A_{k+1}

trace = 0 is the one-step error of (29b), trace = 1 the reward to go minus a baseline (Monte Carlo).
"""

import torch
from torch import Tensor

__all__ = ["FEATURES", "RegressionCritic", "credits", "critic_features", "rewards_to_go"]

FEATURES = 3


class RegressionCritic:
    """Recursive least squares for the K - 1 decisions of one budget.

    Args:
        decisions: K - 1.
        memory: weight of the past per iteration, in [0, 1).
        ridge: ridge penalty relative to the accumulated number of draws, > 0.
    """

    def __init__(self, decisions: int, memory: float, ridge: float) -> None:
        self.memory, self.ridge = memory, ridge
        self.weight = 0.0
        self.gram = torch.zeros(decisions, FEATURES, FEATURES, dtype=torch.float64)
        self.moment = torch.zeros(decisions, FEATURES, dtype=torch.float64)

    def values(self, features: Tensor) -> Tensor:
        """(N, decisions) V_k; zeros before the first fit.  features: (N, decisions, FEATURES)."""
        if self.weight == 0:
            return torch.zeros(features.shape[:2], dtype=torch.float64)
        penalty = self.ridge * self.weight * torch.eye(FEATURES, dtype=torch.float64)
        weights = torch.linalg.solve(self.gram + penalty, self.moment)
        return torch.einsum("nkf,kf->nk", features, weights)

    def fit(self, features: Tensor, to_go: Tensor) -> None:
        """Add one iteration's draws; ``to_go`` (N, decisions)."""
        self.gram = self.memory * self.gram + torch.einsum("nkf,nkg->kfg", features, features)
        self.moment = self.memory * self.moment + torch.einsum("nkf,nk->kf", features, to_go)
        self.weight = self.memory * self.weight + len(to_go)


def critic_features(clock: Tensor) -> Tensor:
    """phi of the states before each decision, (N, K - 1, FEATURES).

    Args:
        clock: (N, K - 1) u before decisions 0 .. K - 2.
    """
    N, decisions = clock.shape
    phi = torch.zeros(N, decisions, FEATURES, dtype=torch.float64)
    phi[:, :, 0] = 1
    if decisions > 1:
        # The first state is the same for every draw: a constant is all there is to know.
        z = _standardised(torch.log1p(-clock[:, 1:]))
        phi[:, 1:, 1], phi[:, 1:, 2] = z, z**2
    return phi


def rewards_to_go(rewards: Tensor) -> Tensor:
    """sum_{j >= k} r_j, (N, decisions)."""
    return rewards.flip(1).cumsum(1).flip(1)


def credits(values: Tensor, rewards: Tensor, trace: float) -> Tensor:
    """A_k (N, K - 1) from V_k and r_k, both (N, K - 1)."""
    delta = rewards - values
    delta[:, :-1] += values[:, 1:]
    for k in range(delta.shape[1] - 2, -1, -1):
        delta[:, k] += trace * delta[:, k + 1]
    return delta


def _standardised(values: Tensor) -> Tensor:
    """Zero mean, unit spread over the draws; limited to 3 spreads against heavy tails."""
    values = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    centred = values - values.mean(0)
    return (centred / values.std(0).clamp_min(1e-12)).clamp(-3, 3)
