"""The mean policy (no noise) on the held-out trajectories, and its speeds as levels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import given
from art_rl.errors import ArtRLError
from art_rl.learning.clock.actor import Actor, OptimalActor
from art_rl.learning.table import TableEnvironment

# A mean speed below this share of the average is raised to it, so that levels strictly decrease.
_LEAST_SPEED = 1e-4


def levels_from_speed(theta: np.ndarray, sigma_max: float) -> tuple[np.ndarray, bool]:
    """Mean speeds (n,) as n + 1 levels: increments normalised to sum to T (2607.02137, distillation).

    Returns the levels and whether a speed had to be raised because it was not positive.

    Raises:
        ArtRLError: speeds not finite or not positive in sum.
    """
    theta = np.asarray(theta, dtype=np.float64)
    if not np.isfinite(theta).all() or not theta.sum() > 0:
        raise ArtRLError("mean speeds must be finite with a positive sum; the learner diverged")
    raised = np.maximum(theta, _LEAST_SPEED * theta.mean())
    to_go = np.cumsum(raised[::-1])[::-1]
    levels = np.append(to_go / to_go[0] * sigma_max, 0.0)
    levels[0] = sigma_max
    return levels, bool((raised != theta).any())


@dataclass(frozen=True)
class MeanRollout:
    """The mean policy on the held-out trajectories.

    theta (n, B); sigma_end (B,); objective: the policy's own, mean over the trajectories.
    """

    theta: Tensor
    sigma_end: Tensor
    objective: float


def run_mean_policy(
    actor: Actor, table: TableEnvironment, steps: int, full: bool = True
) -> MeanRollout:
    """Roll the mean out on a clock of ``steps`` steps from the held-out starting points.

    ``full`` False spares the features of x, which an actor of (t, psi) does not read.

    Raises:
        ArtRLError: a level is not finite.
    """
    rollout = table.start(0, torch.Generator(), held_out=True)
    dt = table.lattice.sigma_max / steps
    thetas, cost = [], torch.zeros_like(rollout.sigma)
    with torch.no_grad(), np.errstate(all="ignore"):
        prepared = actor.prepare()
        slope = full and isinstance(actor, OptimalActor)
        seen = rollout.observe(full, slope)
        for k in range(steps):
            theta = actor.mean(prepared, k, steps, seen)
            thetas.append(theta)
            rollout.advance(theta * dt)
            if not np.isfinite(rollout.sigma.numpy()).all():
                raise ArtRLError(
                    "the learner diverged: its mean policy gives a level that is not finite"
                )
            before = given(seen.integral, "integral")
            seen = rollout.observe(full, slope)
            cost = cost + theta * (before - given(seen.integral, "integral"))
    return MeanRollout(torch.stack(thetas), rollout.sigma, float(cost.mean()))
