"""What the natural actor-critic may be rewarded with; both on the same states for every draw.

HeldCost: ART's objective of a clock of K steps, theta held over each step and the state on the flow,

    J_K = (K / T) sum_k h_k int_{step k} q dsigma,    h_k = sigma_k - sigma_{k+1},  q = mean |Q|

(the continuous objective int q theta^2 dt restricted to K pieces).  A running reward: decision k is paid
-J's own term k over the mean J of the draws.  Read from a table of trajectories: no network call.  A
table of the propagated cost gives the propagated reward.

EndpointError: what the actual solver leaves,

    R = -log(mean over samples and coordinates of |x_K - x_ref(0)|^2)

with x_ref a fine solution from the same starting states (art_rl.flow.reference); paid at the end.  Seen is
the error itself, a vector, which is what the critic of `endpoint` learns.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.flow.solvers import check_solver, nfe
from art_rl.flow.trajectory import check_states
from art_rl.learning.ensemble import Ensemble
from art_rl.learning.evaluate import judge_steps, step_costs
from art_rl.learning.table import TableEnvironment
from art_rl.schedules.schedule import check_positive_range

__all__ = ["EndpointError", "HeldCost", "Outcome", "Reward"]


@dataclass(frozen=True)
class Outcome:
    """What N schedules cost on P states.

    Attributes:
        rewards: (N, K - 1) reward of each decision; the last one's includes all that follows it.
        merits: (N,) J_K.
        policy, start: the same of the mean policy and of the schedule learning started from.
    """

    rewards: Tensor
    merits: Tensor
    policy: float
    start: float


class Reward:
    """States to learn on and to choose on, and what schedules do there; counts no calls by itself.

    Attributes:
        solver: the solver the reward is made for, or "any".
        learning: number of states to learn on.
        model, model_digest: provenance.
    """

    solver: str = "any"
    learning: int
    sigma_max: float
    sigma_min: float
    sigma_data: float
    model: str
    model_digest: str

    @property
    def evaluations(self) -> int:
        """Network evaluations spent so far, one per state and call."""
        return sum(self.counters())

    def merits(self, levels: Tensor, count: int | None) -> list[float]:
        """Merit of (M, K + 1) levels: on the first ``count`` learning states; None: to choose by."""
        raise NotImplementedError

    def cost(self, K: int) -> int:
        """Network evaluations of one draw on one state."""
        return 0

    def judge(self, K: int, levels: Tensor) -> dict[str, Any]:
        """Report of a learned list of levels: against what it can be held to."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Whatever decides the numbers, JSON-like."""
        raise NotImplementedError

    def counters(self) -> list[int]:
        """Evaluations so far, for a state file; `restore` takes them back."""
        return []

    def restore(self, counters: list[int]) -> None:
        """Continue counting."""


class HeldCost(Reward):
    """ART's cost of K held steps on a table of trajectories; see the module's docstring.

    Args:
        table: trajectories; decides between |Q| and the propagated cost.
        sigma_data: of the model, data units; only the densities that learning starts from use it.
    """

    def __init__(self, table: TableEnvironment, sigma_data: float = 0.5) -> None:
        self.table, self.sigma_data = table, float(sigma_data)
        self.learning = table.learning
        self.sigma_max, self.sigma_min = table.lattice.sigma_max, table.lattice.sigma_min
        self.model, self.model_digest = table.model, table.model_digest

    def run(self, levels: Tensor, index: Tensor, policy: Tensor, start: Tensor) -> Outcome:
        """Outcome of (N, K + 1) levels, of ``policy`` and ``start`` (K + 1,), on states ``index``."""
        q = self.table.q[: self.learning][index].mean(0)
        costs = step_costs(self.table.lattice, q, torch.cat([levels, policy[None], start[None]]))
        J = costs.sum(1)
        costs, total = costs[:-2], J[:-2].mean()
        rewards = -costs[:, :-1] / total
        rewards[:, -1] -= costs[:, -1] / total
        return Outcome(rewards, J[:-2], float(J[-2]), float(J[-1]))

    def merits(self, levels: Tensor, count: int | None) -> list[float]:
        """J_K of (M, K + 1) levels on the mean |Q| of the learning trajectories."""
        q = self.table.mean_q
        return step_costs(self.table.lattice, q, levels).sum(1).tolist()

    def judge(self, K: int, levels: Tensor) -> dict[str, Any]:
        """Against the exact K-step optimum, on the held-out trajectories."""
        return judge_steps(self.table, levels.numpy())

    def identity(self) -> dict[str, Any]:
        """Whatever decides the numbers, JSON-like."""
        return {"reward": "held_cost", "table": self.table.digest}


class EndpointError(Reward):
    """The measured endpoint error of one solver; see the module's docstring.

    Args:
        x_train, x_valid: (B, *shape), (V, *shape) states at sigma_max to learn on and to choose on.
        sigma_max, sigma_min: range, data units.
        solver: a key of SOLVERS.
        labels: None or one-hot labels of both, each (B, label_dim) or None.
        batch_rows: largest number of states per network call.
        reference_steps: steps of the fine solution (RK4).

    Raises:
        ArtRLError: bad range, solver, states or labels.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x_train: Tensor,
        x_valid: Tensor,
        sigma_max: float,
        sigma_min: float,
        solver: str,
        labels: tuple[Tensor | None, Tensor | None] = (None, None),
        batch_rows: int = 16384,
        reference_steps: int = 64,
        model: str = "",
    ) -> None:
        check_positive_range(sigma_min, sigma_max, "the endpoint reward")
        self.solver = check_solver(solver)
        named = {"x_train": x_train, "x_valid": x_valid}
        for (name, x), its_labels in zip(named.items(), labels, strict=True):
            check_states(denoiser, x, its_labels, name)
        self.sigma_max, self.sigma_min = float(sigma_max), float(sigma_min)
        self.sigma_data = float(denoiser.sigma_data)
        self.model, self.model_digest = model, denoiser.digest
        reference = {"steps": reference_steps, "sigma_min": self.sigma_min}
        self.train, self.valid = (
            Ensemble(denoiser, x, self.sigma_max, solver, label, batch_rows, reference)
            for x, label in zip((x_train, x_valid), labels, strict=True)
        )
        self.learning, self.reference_steps = len(x_train), reference_steps

    def products(self, levels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Squared errors (N,) of (N, K + 1) levels on states ``index``; products of the vectors, (N, N)."""
        return self.train.products(levels, index)

    def compare(self, levels: Tensor, index: Tensor) -> Tensor:
        """Squared errors (N,) of (N, K + 1) levels on states ``index``."""
        return self.train.errors(levels, index)

    def merits(self, levels: Tensor, count: int | None) -> list[float]:
        """Endpoint RMSE of (M, K + 1) levels: on the first ``count`` learning states; None: to choose by."""
        states = self.valid if count is None else self.train
        size = len(states.x) if count is None else min(count, len(states.x))
        return states.errors(levels, torch.arange(size)).sqrt().tolist()

    def cost(self, K: int) -> int:
        """Network evaluations of one draw on one state."""
        return nfe(self.solver, K) - 1

    def judge(self, K: int, levels: Tensor) -> dict[str, Any]:
        """The error of the solution it is measured against."""
        return {"reference_error": self.train.reference_error}

    def identity(self) -> dict[str, Any]:
        """Whatever decides the numbers, JSON-like."""
        both = (self.train, self.valid)
        return {
            "reward": "endpoint_error",
            "solver": self.solver,
            "states": [_sha256(states.x) for states in both],
            "labels": [None if s.labels is None else _sha256(s.labels) for s in both],
            "reference_steps": self.reference_steps,
        }

    def counters(self) -> list[int]:
        """Evaluations so far of both sets of states, the reference solutions included."""
        return [self.train.calls, self.valid.calls]

    def restore(self, counters: list[int]) -> None:
        """Continue counting."""
        self.train.calls, self.valid.calls = counters


def _sha256(x: Tensor) -> str:
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
