"""The environment of the paper's Algorithm 1: the network is called at every clock step.

The state moves with the sampler's own Euler steps, x += theta dt F(x, psi), on a clock of K steps
(mode "per_budget"); |Q| is measured at each visited state.  A table of exact trajectories of the same
model supplies what is common to all budgets: the scale of the features, mean |Q| per level, and the
fine grid on which the result is judged.
"""

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.flow.curvature import QFunction, difference
from art_rl.learning.flow import Features, default_features, norm
from art_rl.learning.table import Observation, TableEnvironment

# A state that earlier Euler steps have left far from the data makes |Q| ~ 1/sigma^2 near the end: those
# steps' error, not this step's.  Uncapped, a few such states decide every gradient.
_LARGEST_RATIO = 10.0


class EulerEnvironment:
    """Actual Euler rollouts of a denoiser.

    Args:
        denoiser: the model.
        x_start: (B, *shape) states at sigma_max, float64, on the model's device.
        table: exact trajectories of the same model, cost "q", made with the same features.
        held_out: starting points kept for evaluation, from the end; half of them if None.
        q_function, features: hooks, as for the table.

    Raises:
        ArtRLError: the table belongs to another model or has the propagated cost; too few states.
    """

    can_integrate = False
    cost = "q"

    def __init__(
        self,
        denoiser: Denoiser,
        x_start: Tensor,
        table: TableEnvironment,
        *,
        held_out: int | None = None,
        q_function: QFunction = difference,
        features: Features | None = None,
        class_labels: Tensor | None = None,
    ) -> None:
        if table.model_digest != denoiser.digest:
            raise ArtRLError(
                f"table belongs to the model {table.model_digest[:12]!r}, "
                f"the denoiser is {denoiser.digest[:12]!r}; make the table from this denoiser"
            )
        if table.cost != "q":
            raise ArtRLError(
                f"cost must be 'q' for actual rollouts (a weight is known only along exact "
                f"trajectories), got a table of {table.cost!r}"
            )
        self.held_out = len(x_start) // 2 if held_out is None else held_out
        self.learning = len(x_start) - self.held_out
        if self.held_out < 2 or self.learning < 2:
            raise ArtRLError(
                f"at least 2 states to learn from and 2 to evaluate on are needed, "
                f"got {self.learning} and {self.held_out}"
            )
        self.denoiser, self.x_start, self._table = denoiser, x_start, table
        self.q_function, self.class_labels = q_function, class_labels
        self.features = features or default_features(denoiser.sigma_data)
        self.lattice, self.mean_q, self.num_features = (
            table.lattice,
            table.mean_q,
            table.num_features,
        )
        self.model, self.model_digest = table.model, table.model_digest
        self.digest = digest(
            {
                "table": table.digest,
                "x_start": [float(x_start.double().sum()), float((x_start.double() ** 2).sum())],
                "held_out": self.held_out,
            }
        )

    @property
    def table(self) -> TableEnvironment:
        """The common evaluation grid."""
        return self._table

    def start(
        self, count: int, generator: torch.Generator, held_out: bool = False
    ) -> "EulerRollout":
        """``count`` states drawn with replacement, or all held-out ones in order."""
        if held_out:
            index = torch.arange(self.learning, len(self.x_start))
        else:
            index = torch.randint(self.learning, (count,), generator=generator)
        return EulerRollout(self, index)


class EulerRollout:
    """B states with their own levels; one denoiser call and one |Q| per observation.

    Below sigma_min, the end included, the model has nothing to say: the state stays and |Q| is its
    mean at the data end.  |Q| is capped at ``_LARGEST_RATIO`` times its mean along the exact flow.
    """

    def __init__(self, environment: EulerEnvironment, index: Tensor) -> None:
        self.environment = environment
        start = environment.x_start
        self.x = start[index.to(start.device)]
        labels = environment.class_labels
        self.labels = None if labels is None else labels[index.to(labels.device)]
        self.sigma = torch.full(index.shape, environment.lattice.sigma_max, dtype=torch.float64)
        self._slope: Tensor | None = None

    def observe(self, features: bool = True, slope: bool = False) -> Observation:
        """|Q|, drift and, if asked for, features at the current states."""
        env, lattice = self.environment, self.environment.lattice
        level = self.sigma.clamp(lattice.sigma_min, lattice.sigma_max)
        on_device = level.to(self.x.device, self.x.dtype)
        self._slope, total = env.q_function(env.denoiser, self.x, on_device, self.labels)
        mean_q = lattice.evaluate(env.mean_q, level)
        place = lattice.locate(self.sigma)
        q = torch.minimum(norm(total).double().cpu(), _LARGEST_RATIO * mean_q)
        ended = self.sigma < lattice.sigma_min
        q = torch.where(ended, mean_q, q)
        shape = [-1] + [1] * (self.x.ndim - 1)
        self._slope = self._slope * (~ended).to(self.x.device, self.x.dtype).reshape(shape)
        if not features:
            return Observation(self.sigma, q, place=place)
        seen = self._scaled(self.x, level, q)
        if not slope:
            return Observation(self.sigma, q, seen, place=place)
        # Features a little further along the flow; |Q| kept, its change is not known here.
        h = 0.01 * level
        moved = self.x - h.to(self.x.device, self.x.dtype).reshape(shape) * self._slope
        change = (self._scaled(moved, level - h, q) - seen) / h[:, None]
        change[:, -1] = 0.0
        return Observation(self.sigma, q, seen, change, place=place)

    def _scaled(self, x: Tensor, level: Tensor, q: Tensor) -> Tensor:
        env = self.environment
        raw = env.features(x, level.to(x.device, x.dtype)).double().cpu()
        return env.table.scale(q, raw, level)

    def advance(self, distance: Tensor) -> None:
        """One Euler step: psi += distance, x += distance F."""
        if self._slope is None:
            raise RuntimeError("observe() comes before advance()")
        shape = [-1] + [1] * (self.x.ndim - 1)
        moved = distance.to(self.x.device, self.x.dtype).reshape(shape)
        self.x = self.x - moved * self._slope
        self.sigma = self.sigma - distance
        self._slope = None
