"""What is measured on a model before schedules are made."""

from typing import Annotated, Literal

from pydantic import Field

from art_rl.settings.base import Closed, Seed, Whole


class Profile(Closed):
    """Measurement of |Q| along trajectories."""

    trajectories: Annotated[Whole, Field(ge=2)] = 512
    """Number of trajectories."""
    seed: Seed = 1
    """Seed of their starting noise (evaluation uses other seeds)."""
    estimator: Literal["rollout", "difference", "jvp"] = "rollout"
    """How |Q| is estimated: rollout (free), difference, jvp (the paper's)."""
    levels: Annotated[Whole, Field(ge=8)] | None = None
    """Noise levels of the lattice; null: chosen by the kind of model."""
    sensitivity_levels: Annotated[Whole, Field(ge=8)] | None = None
    """Noise levels of the sensitivity's lattice; null: chosen by the kind of model."""
    sensitivity_samples: Annotated[Whole, Field(ge=2)] | None = None
    """Trajectories of the sensitivity; null: chosen by the kind of model."""


class Endpoint(Closed):
    """Measurement of propagated local errors for the convex endpoint schedule."""

    trajectories: Annotated[Whole, Field(ge=2)] = 512
    """Number of trajectories."""
    seed: Seed = 3
    """Seed of their starting noise (evaluation uses other seeds)."""
    nodes: Annotated[Whole, Field(ge=4)] | None = None
    """Noise levels at which errors are measured; null: chosen by the kind of model."""


class Control(Closed):
    """Trajectories every learner of a model shares; half of them are held out for evaluation."""

    trajectories: Annotated[Whole, Field(ge=4)] = 1024
    """Number of trajectories."""
    endpoint_states: Annotated[Whole, Field(ge=4)] | None = None
    """Starting states of the endpoint-reward learner, half to learn on and half to choose on; null:
    trajectories."""
    seed: Seed = 2
    """Seed of their starting noise (evaluation uses other seeds)."""
    cells: Annotated[Whole, Field(ge=8)] | None = None
    """Cells of the lattice of levels; null: chosen by the kind of model."""

    @property
    def states(self) -> int:
        """Starting states of the endpoint-reward learner, and of Gauss-Newton on the same error."""
        return self.endpoint_states or self.trajectories
