"""Settings of the learner: one validated dataclass, readable from a plain dict."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from art_rl.checks import check_whole, is_number
from art_rl.errors import ArtRLError
from art_rl.files import digest

FORMS = ("feedback", "paper")
MODES = ("fine", "per_budget")
STATES = ("time", "full")
COSTS = ("q", "propagated")
MEANS = ("network", "optimal")
CRITICS = ("shaped", "network", "least_squares")
QUADRATURES = ("auto", "left", "trapezoid", "step")
BASES = ("edm", "gaussian", "uniform")

# Criteria of the `converged` flag: objective / time-only closed form - 1.
TOLERANCES = {"feedback": 0.02, "paper": 0.10, "full": 0.03}


@dataclass(frozen=True)
class LearnerConfig:
    """Settings of one ART-RL run.

    Attributes:
        seed: random seed of exploration and of the networks' first weights, >= 0.
        form: actor form.  "feedback": spends a share of the remaining integral, meets the budget by
            construction.  "paper": open theta(t, psi) with the multiplier gamma (2607.02137, eq. 9, 30).
        mode: "fine": one clock of ``clock_steps`` steps, distilled to every budget.  "per_budget": the
            clock has ``budget`` steps (the paper's).
        budget: K of "per_budget", >= 1; must be None in "fine".
        clock_steps: steps of the fine clock, >= 48 (fewer can be gamed, see docs/art_rl.md).
        state: "time": actor and critic see (t, psi).  "full": also the environment's features of x.
        cost: "q": |Q| theta^2.  "propagated": |Q| weighted with what the flow passes on to the end.
        mean: "network": the actor's own network.  "optimal": the mean of eq. 18 from the critic's slope.
        critic: "network": plain network.  "shaped": the exact value function's shape with a learned
            integral I(psi).  "least_squares": a regression per clock step.
        quadrature: how |Q| theta^2 is summed over a clock step.  "left": Algorithm 1.  "trapezoid": both
            ends.  "step": int |Q| dpsi over the step (tables only).  "auto": step for a table, else
            trapezoid ("left" rewards leaping over the stiff region when K is small).
        base: node density the actor starts from: "edm", "gaussian" or "uniform".
        rho: exponent of the edm base, > 0.
        iterations: updates, >= 1.
        batch: trajectories per iteration, >= 2.
        noise: exploration: standard deviation of theta relative to an equidistributed clock, > 0;
            fixes lambda = noise^2 * (cost rate of the base clock) unless ``lambda_`` is given.
        noise_final: the same at the last iteration (geometric decay), > 0; None: a third of ``noise``
            in the feedback form, ``noise`` (constant lambda) in the paper's.
        lambda_: temperature of eq. 11 in cost units, > 0, constant; None: from ``noise``.
        q_floor: eps, absolute floor of |Q| in the policy's variance, > 0.
        q_floor_relative: the same relative to the mean |Q| at that level (ours), in [0, 1].
        trace: 0: TD errors (29a, 29b); 1: Monte-Carlo returns; between: weighted multi-step returns.
            None: 0.8 for a feedback actor of (t, psi), 0.95 with the full state, 0.9 in the paper's form.
        actor_rate, critic_rate: first Adam step sizes (cosine decay to 1 %), > 0.
        gamma_rate: step size a_n of (30) in units of |gamma_0| per relative budget error, > 0.
        gamma_proportional: extra proportional term on the same error (ours), >= 0.
        gamma_start: first gamma; None: from |Q| at the data end (see docs/art_rl.md).
        hidden: width of the networks' hidden layers, >= 1.
        layers: number of hidden layers, >= 1.
        normalise: divide advantages by their spread, per clock step.
        clip: largest gradient norm, > 0.
        evaluate_every: iterations between evaluations of the mean policy's objective, >= 1.
        checkpoint_every: iterations between checkpoints, >= 1.
        tolerance: criterion of `converged`, > 0; None: 0.02 feedback, 0.10 paper, 0.03 full.

    Raises:
        ArtRLError: a value breaks its rule.
    """

    seed: int = 0
    form: str = "feedback"
    mode: str = "fine"
    budget: int | None = None
    clock_steps: int = 64
    state: str = "time"
    cost: str = "q"
    mean: str = "network"
    critic: str = "shaped"
    quadrature: str = "auto"
    base: str = "edm"
    rho: float = 7.0
    iterations: int = 200
    batch: int = 256
    noise: float = 0.15
    noise_final: float | None = None
    lambda_: float | None = None
    q_floor: float = 1e-12
    q_floor_relative: float = 0.1
    trace: float | None = None
    actor_rate: float = 0.01
    critic_rate: float = 0.02
    gamma_rate: float = 0.1
    gamma_proportional: float = 1.0
    gamma_start: float | None = None
    hidden: int = 32
    layers: int = 1
    normalise: bool = True
    clip: float = 10.0
    evaluate_every: int = 10
    checkpoint_every: int = 50
    tolerance: float | None = None

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ArtRLError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if value is None and name == "budget":
                continue
            check_whole(name, value, least)
        for name, (low, high, open_low) in _REAL.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            inside = is_number(value) and low <= value <= high
            if not inside or (open_low and value == low):
                bound = f"above {low}" if open_low else f"at least {low}"
                above = "" if high == math.inf else f" and at most {high}"
                raise ArtRLError(f"{name} must be a number {bound}{above}, got {value!r}")
        if not isinstance(self.normalise, bool):
            raise ArtRLError(f"normalise must be true or false, got {self.normalise!r}")
        if self.mode == "per_budget" and self.budget is None:
            raise ArtRLError("mode 'per_budget' needs a budget (number of steps K), got None")
        if self.mode == "fine" and self.budget is not None:
            raise ArtRLError(
                f"budget must be None in mode 'fine' (give K to distill), got {self.budget}"
            )
        if self.mean == "optimal" and self.critic == "least_squares":
            raise ArtRLError(
                "mean 'optimal' needs the slope of a critic network; "
                "critic must not be 'least_squares'"
            )

    @property
    def steps(self) -> int:
        """Steps n of the learner's clock."""
        return self.clock_steps if self.mode == "fine" else int(self.budget or 0)

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
        if self.tolerance is not None:
            return self.tolerance
        return TOLERANCES["full" if self.state == "full" and self.form == "feedback" else self.form]

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-like."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the settings."""
        return digest(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LearnerConfig":
        """Settings from a mapping; an unknown key is an ArtRLError that lists the known ones."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ArtRLError(f"unknown learner setting {key!r}; known: {', '.join(known)}")
        return cls(**values)


_CHOICES = {
    "form": FORMS,
    "mode": MODES,
    "state": STATES,
    "cost": COSTS,
    "mean": MEANS,
    "critic": CRITICS,
    "quadrature": QUADRATURES,
    "base": BASES,
}
_WHOLE = {
    "seed": 0,
    "budget": 1,
    "clock_steps": 48,
    "iterations": 1,
    "batch": 2,
    "hidden": 1,
    "layers": 1,
    "evaluate_every": 1,
    "checkpoint_every": 1,
}
# name: (low, high, low itself excluded)
_REAL = {
    "rho": (0.0, math.inf, True),
    "noise": (0.0, math.inf, True),
    "noise_final": (0.0, math.inf, True),
    "lambda_": (0.0, math.inf, True),
    "q_floor": (0.0, math.inf, True),
    "q_floor_relative": (0.0, 1.0, False),
    "trace": (0.0, 1.0, False),
    "actor_rate": (0.0, math.inf, True),
    "critic_rate": (0.0, math.inf, True),
    "gamma_rate": (0.0, math.inf, True),
    "gamma_proportional": (0.0, math.inf, False),
    "gamma_start": (-math.inf, math.inf, False),
    "clip": (0.0, math.inf, True),
    "tolerance": (0.0, math.inf, True),
}
_MAY_BE_NONE = ("noise_final", "trace", "lambda_", "gamma_start", "tolerance")
