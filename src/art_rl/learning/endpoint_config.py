"""Settings of the endpoint-reward learner: one validated dataclass, readable from a plain dict."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from art_rl.checks import check_whole, is_number
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.registry import SINGLE_STEP

STARTS = ("gaussian", "arctan", "cosine", "edm")


@dataclass(frozen=True)
class EndpointConfig:
    """Settings of one run (all budgets of one model and solver).

    Attributes:
        seed: random seed of exploration and of the choice of starting states, >= 0.
        iterations: policy updates per budget, >= 1.
        trials: starts that are followed up per budget, >= 1: the best ``trials`` starts that differ
            are learned from for ``trial_share`` of the iterations, the best of them for the rest (the
            problem is not convex).
        trial_share: in (0, 1].
        evaluations: network evaluations (one per state and call) to spend at most on one budget's
            updates, or None.  For large K trials are dropped first, then points and iterations are
            reduced alike until they fit, not below 16 points and 20 iterations.
        draws: N, schedules sampled per iteration, even (noise comes in +/- pairs), >= 4.
        points: P, starting states per iteration, shared by all draws, >= 1 (at most all of x_train).
        noise_start: exploration at the first iteration: standard deviation of the action, the logit of
            the share of the remaining clock; for small steps the relative noise of a step.  > 0.
        noise_end: the smallest it decays to (geometrically), 0 < noise_end <= noise_start.
        anneal_over: share of the iterations the decay takes if successive updates do not agree in
            direction; it waits while they do.  > 0.
        step_size: multiplies the natural gradient; 1 moves the mean policy by at most about one
            exploration spread per iteration, > 0.
        largest_step: trust region: largest move of the mean policy per iteration in exploration
            spreads (root of twice the KL divergence), > 0.
        damping: Tikhonov term of the Fisher matrix relative to its largest diagonal entry, > 0.
        trace: 0: one-step temporal differences; 1: Monte-Carlo returns; between: both. In [0, 1].
        critic_memory: weight of past iterations in the critic's regression, in [0, 1).
        critic_ridge: ridge penalty of that regression, relative to the number of draws, > 0.
        ensemble_features: give the critic deviation and alignment of the ensemble with the reference
            trajectory; False: the clock only, which saves keeping that trajectory at hand.
        clip: credits are limited to this many spreads, > 0.
        knots: J, coefficients of the density network per budget, >= 2.
        starts: node densities tried as start, of gaussian, arctan, cosine, edm; at least one (or
            densities handed over to train_endpoint), ranked by endpoint error on ``start_points``
            training states.
        transfer: also try the density learned for the next smaller budget as a start.
        start_points: training states the starts are compared on, >= 1 (at most all).
        average_from: the final policy averages the coefficients from this share of the iterations on,
            in [0, 1).
        snapshots: deterministic policies compared on x_valid besides start and average: the iterates
            at equally spaced times, the last one included, >= 1.
        reference_steps, reference_solver: fine solution, see art_rl.flow.reference; steps >= 2.
        reference_sigma_min: its last level above 0, data units; None: the sigma_min of the run.
        batch_rows: largest number of states per network call, >= points.
        checkpoint_every: iterations between checkpoints, >= 1.

    Raises:
        ArtRLError: a value breaks its rule.
    """

    seed: int = 0
    iterations: int = 100
    trials: int = 3
    trial_share: float = 0.4
    evaluations: int | None = 25_000_000
    draws: int = 64
    points: int = 128
    noise_start: float = 0.3
    noise_end: float = 0.005
    anneal_over: float = 0.6
    step_size: float = 1.0
    largest_step: float = 1.0
    damping: float = 1e-3
    trace: float = 0.5
    critic_memory: float = 0.8
    critic_ridge: float = 0.01
    ensemble_features: bool = True
    clip: float = 3.0
    knots: int = 20
    starts: tuple[str, ...] = STARTS
    transfer: bool = True
    start_points: int = 1024
    average_from: float = 0.7
    snapshots: int = 3
    reference_steps: int = 64
    reference_solver: str = "rk4"
    reference_sigma_min: float | None = None
    batch_rows: int = 16384
    checkpoint_every: int = 20

    def __post_init__(self) -> None:
        whole = {
            "seed": 0,
            "iterations": 1,
            "trials": 1,
            "evaluations": 1,
            "draws": 4,
            "points": 1,
            "knots": 2,
            "start_points": 1,
            "snapshots": 1,
            "reference_steps": 2,
            "batch_rows": 1,
            "checkpoint_every": 1,
        }
        for name, least in whole.items():
            value = getattr(self, name)
            if name == "evaluations" and value is None:
                continue
            check_whole(name, value, least)
        if self.draws % 2:
            raise ArtRLError(f"draws must be even (noise comes in +/- pairs), got {self.draws}")
        if self.batch_rows < self.points:
            raise ArtRLError(
                f"batch_rows must be at least points = {self.points}, got {self.batch_rows}"
            )
        positive = (
            "noise_start",
            "noise_end",
            "anneal_over",
            "step_size",
            "largest_step",
            "damping",
            "critic_ridge",
            "clip",
        )
        for name in positive:
            self._number(name, lambda v: v > 0, "positive")
        self._number("trace", lambda v: 0 <= v <= 1, "in [0, 1]")
        self._number("trial_share", lambda v: 0 < v <= 1, "in (0, 1]")
        for name in ("critic_memory", "average_from"):
            self._number(name, lambda v: 0 <= v < 1, "in [0, 1)")
        if self.noise_end > self.noise_start:
            raise ArtRLError(
                f"noise_end must not exceed noise_start = {self.noise_start}, got {self.noise_end}"
            )
        for name in ("ensemble_features", "transfer"):
            if not isinstance(getattr(self, name), bool):
                raise ArtRLError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if not isinstance(self.starts, list | tuple):
            raise ArtRLError(f"starts must be a list of names, got {self.starts!r}")
        object.__setattr__(self, "starts", tuple(self.starts))
        for name in self.starts:
            if name not in STARTS:
                raise ArtRLError(f"starts must be of {', '.join(STARTS)}, got {name!r}")
        if self.reference_solver not in SINGLE_STEP:
            raise ArtRLError(
                f"reference_solver must be one of {', '.join(SINGLE_STEP)}, "
                f"got {self.reference_solver!r}"
            )
        if self.reference_sigma_min is not None:
            self._number("reference_sigma_min", lambda v: v > 0, "positive")

    def _number(self, name: str, rule: Any, words: str) -> None:
        value = getattr(self, name)
        if not (is_number(value) and rule(value)):
            raise ArtRLError(f"{name} must be {words}, got {value!r}")

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "EndpointConfig":
        """From a plain dict; an unknown key is an ArtRLError that lists the known ones."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                raise ArtRLError(
                    f"unknown endpoint setting {key!r}; known: {', '.join(sorted(known))}"
                )
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-like dict; from_dict reads it back."""
        return dataclasses.asdict(self) | {"starts": list(self.starts)}

    @property
    def digest(self) -> str:
        """SHA-256 of the settings that decide the numbers."""
        value = self.to_dict()
        del value["checkpoint_every"]
        return digest(value)
