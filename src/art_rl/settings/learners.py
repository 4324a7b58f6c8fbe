"""Learners: the settings of each kind, and an entry of the configuration's ``learners``."""

from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import Field, Tag, model_validator

from art_rl.errors import ArtRLError
from art_rl.registry import DECOUPLED, LEARNED, METHODS
from art_rl.settings.base import (
    LIST,
    UNIQUE,
    Closed,
    Count,
    OneOf,
    Positive,
    Seed,
    Share,
    Whole,
    by_kind,
)

# Criteria of the `converged` flag: objective / time-only closed form - 1.
TOLERANCES = {"feedback": 0.02, "paper": 0.10, "full": 0.03}


class ClockSettings(Closed):
    """One fine clock learned on ART's objective (2607.02137, Algorithm 1) for every budget."""

    written = "changed"
    # Rules and labels read these, so no model may change them either.
    always = ("form", "state")
    # Rows of the tables this kind feeds.
    feeds: ClassVar[tuple[str, ...]] = ("art_rl_feedback",)

    form: Literal["feedback", "paper"] = "feedback"
    """Actor form.  feedback: spends a share of the remaining integral, meets the budget by construction.
    paper: open theta(t, psi) with the multiplier gamma (2607.02137, eq. 9, 30)."""
    clock_steps: Annotated[Whole, Field(ge=48)] = 64
    """Steps of the clock (fewer can be gamed, see docs/art_rl.md)."""
    state: Literal["time", "full"] = "time"
    """time: actor and critic see (t, psi).  full: also the environment's features of x."""
    cost: Literal["q", "propagated"] = "q"
    """q: |Q| theta^2.  propagated: |Q| weighted with what the flow passes on to the end."""
    mean: Literal["network", "optimal"] = "network"
    """network: the actor's own network.  optimal: the mean of eq. 18 from the critic's slope."""
    critic: Literal["shaped", "network", "least_squares"] = "shaped"
    """network: plain network.  shaped: the exact value function's shape with a learned integral I(psi).
    least_squares: a regression per clock step."""
    base: Literal["edm", "gaussian", "uniform"] = "edm"
    """Node density the actor starts from."""
    iterations: Count = 200
    """Updates."""
    batch: Annotated[Whole, Field(ge=2)] = 256
    """Trajectories per iteration."""
    noise: Positive = 0.15
    """Exploration: standard deviation of theta relative to an equidistributed clock; fixes lambda =
    noise^2 * (cost rate of the base clock) unless ``lambda_`` is given."""
    noise_final: Positive | None = None
    """The same at the last iteration (geometric decay); null: a third of ``noise`` in the feedback form,
    ``noise`` (constant lambda) in the paper's."""
    lambda_: Positive | None = None
    """Temperature of eq. 11 in cost units, constant; null: from ``noise``."""
    trace: Share | None = None
    """0: TD errors (29a, 29b); 1: Monte-Carlo returns; between: weighted multi-step returns.  null: 0.8 for
    a feedback actor of (t, psi), 0.95 with the full state, 0.9 in the paper's form."""
    hidden: Count = 32
    """Width of the networks' hidden layer."""
    evaluate_every: Count = 10
    """Iterations between evaluations of the mean policy's objective."""
    checkpoint_every: Count = 50
    """Iterations between checkpoints."""

    @model_validator(mode="after")
    def _optimal_mean_needs_a_slope(self) -> Self:
        if self.mean == "optimal" and self.critic == "least_squares":
            raise ArtRLError(
                "mean 'optimal' needs the slope of a critic network; "
                "critic must not be 'least_squares'"
            )
        return self

    @property
    def trace_used(self) -> float:
        """``trace`` or its default; much bootstrapping makes actors that see x unstable (measured)."""
        if self.trace is not None:
            return self.trace
        if self.form == "paper":
            return 0.9
        return 0.95 if self.state == "full" else 0.8

    @property
    def criterion(self) -> float:
        """Tolerance of the `converged` flag."""
        return TOLERANCES["full" if self.state == "full" and self.form == "feedback" else self.form]


class _Run(Closed):
    seed: Seed = 0
    """Random seed of exploration, of the networks' first weights and of the choice of states."""


class LearnerConfig(ClockSettings, _Run):
    """One run of a clock learner: settings and seed."""


Rounds = Annotated[tuple[Share, ...], LIST, Field(min_length=1)]


class _Natural(Closed):
    """What every run of the natural actor-critic is told, whatever its reward."""

    written = "changed"

    iterations: Count = 100
    """Policy updates per budget."""
    trials: Count = 3
    """Starts followed up per budget (the problem is not convex): the best that differ are learned from for
    a share of the iterations, the best of them for the rest."""
    rounds: Rounds = (0.4,)
    """Shares of the iterations after which the trials are compared, increasing: the better half goes on,
    after the last comparison the best."""
    draws: Annotated[Whole, Field(ge=4, multiple_of=2)] = 64
    """N, schedules sampled per iteration, even (noise comes in +/- pairs)."""
    points: Count = 128
    """P, states per iteration, shared by all draws (at most all there are to learn on)."""
    start_points: Count = 1024
    """Learning states the starts are compared on (at most all)."""
    checkpoint_every: Count = 20
    """Iterations between state files."""

    @property
    def fewest_points(self) -> int:
        """States that an iteration has at least."""
        return self.points

    @property
    def limit(self) -> int | None:
        """Network evaluations to spend at most on one budget's updates."""
        return None

    @model_validator(mode="after")
    def _rounds_increase(self) -> Self:
        if list(self.rounds) != sorted(set(self.rounds)):
            raise ArtRLError(f"rounds must increase, got {list(self.rounds)}")
        return self


class StepsSettings(_Natural):
    """Schedules learned on ART's cost of K steps, budget by budget, from the table of trajectories."""

    feeds: ClassVar[tuple[str, ...]] = ("art_rl",)


class EndpointSettings(_Natural):
    """Schedules learned on the measured endpoint error of one solver at each of its budgets."""

    feeds: ClassVar[tuple[str, ...]] = ("art_rl_endpoint", DECOUPLED)

    iterations: Count = 24
    """Policy updates per budget."""
    trials: Count = 8
    """Trials per budget (the problem is not convex): from the best starts that differ, in turn, each with its
    own draws."""
    rounds: Rounds = (0.25, 0.375, 0.5)
    """Shares of the iterations after which the trials are compared, increasing: the better half goes on,
    after the last comparison the best."""
    draws: Annotated[Whole, Field(ge=4, multiple_of=2)] = 40
    """Schedules sampled per iteration at most, even (noise comes in +/- pairs); K - 1 pairs tell all there is
    to first order, and no more (at least four) are drawn."""
    points: Count = 1024
    """P, states per iteration, shared by all draws (at most all there are to learn on): 1/32 of them in the
    first quarter of the iterations, 1/16 in the second, 1/4 up to 0.8, then all, other ones in every
    iteration if there are more; not below ``least_points``."""
    least_points: Count = 16
    """Fewest states of an iteration.  Where few trajectories make most of the error, as near the decision
    boundaries of a mixture in many dimensions, more of them find the better valley."""
    start_points: Count = 256
    """Learning states the starts and the trials are compared on (at most all)."""
    evaluations: Count | None = 10_000_000
    """Network evaluations (one per state and call) to spend at most on one budget's updates, or null.  For
    large K trials are dropped first, then points and iterations are reduced alike until they fit, not
    below 16 points and 12 iterations."""
    reference_steps: Annotated[Whole, Field(ge=2)] = 64
    """RK4 steps of the fine solution the endpoint error is measured against."""
    batch_rows: Count = 16384
    """Largest number of states per network call, at least ``points``."""

    @property
    def fewest_points(self) -> int:
        """States that an iteration has at least."""
        return self.least_points

    @property
    def limit(self) -> int | None:
        """Network evaluations to spend at most on one budget's updates."""
        return self.evaluations

    @model_validator(mode="after")
    def _points_fit_a_call(self) -> Self:
        if self.batch_rows < self.points:
            raise ArtRLError(
                f"batch_rows must be at least points = {self.points}, got {self.batch_rows}"
            )
        return self


class PaperStepsSettings(Closed):
    """Algorithm 1 on a clock of K steps, budget by budget, from the table of trajectories."""

    written = "changed"
    feeds: ClassVar[tuple[str, ...]] = ("art_rl_paper",)

    iterations: Count = 300
    """Updates per budget."""
    batch: Annotated[Whole, Field(ge=8, multiple_of=2)] = 256
    """Trajectories per iteration, half of them with the noise of the other half reversed."""
    noise: Positive = 0.1
    """Exploration; fixes lambda: no step's standard deviation is more than this share of the step, or of
    the level it lands on."""
    checkpoint_every: Count = 100
    """Iterations between state files."""


class PaperSettings(PaperStepsSettings, _Run):
    """One run of Algorithm 1 (`art_rl.learning.algorithm1`), all budgets: settings and seed."""


class NaturalSettings(StepsSettings, _Run):
    """One run of the natural actor-critic (`art_rl.learning.natural`), all budgets: settings and seed."""


class EndpointRun(EndpointSettings, _Run):
    """One run on the measured endpoint error (`art_rl.learning.endpoint`), all budgets: settings and seed."""


LEARNER_KINDS: dict[str, Any] = {
    "clock": ClockSettings,
    "steps": StepsSettings,
    "paper": PaperStepsSettings,
    "endpoint": EndpointSettings,
}


Kind = TypeVar("Kind")
Settings = TypeVar("Settings")


class _Learner(Closed, Generic[Kind, Settings]):
    method: Annotated[str, OneOf([m.id for m in METHODS.values() if m.group == LEARNED])] | None = (
        None
    )
    """Row of the tables this learner's schedules (of its first seed) feed, if any."""
    seeds: Annotated[tuple[Seed, ...], UNIQUE, Field(min_length=1)]
    """Learning seeds; each is one run."""
    kind: Kind
    """clock, steps, paper or endpoint."""
    settings: Settings
    """Settings of the learner (its seed comes from the workflow)."""

    @model_validator(mode="after")
    def _row_of_its_kind(self) -> Self:
        feeds: tuple[str, ...] = self.settings.feeds  # type: ignore[attr-defined]
        if self.method is not None and self.method not in feeds:
            raise ArtRLError(
                f"method must be one of {', '.join(feeds)} for a learner of kind {self.kind}, "
                f"got {self.method!r}"
            )
        return self


class ClockLearner(_Learner[Literal["clock"], ClockSettings]):
    """A learner of ART's objective on one clock."""

    kind: Literal["clock"] = "clock"
    """clock: ART's objective on one clock.  steps: its cost of K steps, budget by budget.  paper: the
    papers' Algorithm 1 on K steps.  endpoint: the measured endpoint error, per solver and budget."""


class StepsLearner(_Learner[Literal["steps"], StepsSettings]):
    """A learner of ART's cost of K steps."""


class PaperLearner(_Learner[Literal["paper"], PaperStepsSettings]):
    """Algorithm 1 at every budget."""


class EndpointLearner(_Learner[Literal["endpoint"], EndpointSettings]):
    """A learner of the measured endpoint error."""


Learner = Annotated[
    Annotated[ClockLearner, Tag("kind=clock")]
    | Annotated[StepsLearner, Tag("kind=steps")]
    | Annotated[PaperLearner, Tag("kind=paper")]
    | Annotated[EndpointLearner, Tag("kind=endpoint")],
    by_kind("clock"),
]
