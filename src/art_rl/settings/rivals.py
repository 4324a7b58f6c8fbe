"""Settings of the rival schedules: what they measure, and how LD3 learns."""

from typing import Annotated, Literal

from pydantic import Field

from art_rl.settings.base import Closed, Count, Positive, Seed, Whole


class RivalSettings(Closed):
    """Sizes of what rival schedules measure of a model."""

    written = "changed"

    trajectories: Annotated[Whole, Field(ge=2)] = 256
    """Trajectories of the GITS teacher and of the OSS search."""
    paths: Annotated[Whole, Field(ge=2)] = 2048
    """Noise paths of the entropic, score-optimal, ELBO and Align Your Steps statistics."""
    levels: Annotated[Whole, Field(ge=120)] = 128
    """Levels of their lattice."""
    teacher_levels: Annotated[Whole, Field(ge=3)] = 61
    """Levels of the GITS teacher; at least the largest K + 1."""
    oss_levels: Annotated[Whole, Field(ge=3)] = 21
    """Levels of the OSS teacher, the last one 0; at least the largest K + 1."""
    batch_size: Count = 256
    """Samples per network call."""
    seed: Seed = 11
    """Seed of starting states and noise."""


class LD3Settings(Closed):
    """Learning of LD3-style schedules; the published sizes are the defaults where there are any."""

    written = "changed"

    rounds: Count = 7
    """Rounds; each begins from the best parameters so far."""
    steps: Count = 25
    """Gradient steps of a round (published: one epoch of 50 samples in batches of 2)."""
    train: Annotated[Whole, Field(ge=2)] = 64
    """Training trajectories, all used in every gradient step."""
    valid: Annotated[Whole, Field(ge=2)] = 64
    """Validation trajectories, measured after every gradient step."""
    rate: Positive = 0.005
    """Step size of RMSprop on the levels' parameters."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of RMSprop."""
    patience: Count = 5
    """Validations without improvement before the best parameters return and the step size falls."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Factor on the step size then."""
    smallest_rate: Positive = 5e-5
    """The step size falls no further."""
    shift_rounds: Annotated[Whole, Field(ge=0)] = 5
    """Row ld3_decoupled: in the last so many rounds the levels that the network is told move too."""
    window: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Largest shift relative to the smallest gap."""
    mode: Literal["lambda", "time"] = "lambda"
    """Levels are shares of -log sigma ("lambda") or of sigma ("time")."""
    reference_steps: Annotated[Whole, Field(ge=2)] = 64
    """RK4 steps of the reference that the solver's ends are compared with."""
    seed: Seed = 12
    """Seed of the starting states."""
