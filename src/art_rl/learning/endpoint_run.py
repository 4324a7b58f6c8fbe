"""One run of the endpoint-reward learner: budget after budget, starts, trials and the final choice.

Per budget: every start density (and the one learned for the next smaller budget) is measured; the
best few that differ are learned from for a while (trials); the best of those is learned to the end;
a few deterministic policies are then compared on validation states, the start among them.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.files import digest
from art_rl.flow.solvers import nfe
from art_rl.learning.endpoint_actor import EndpointActor
from art_rl.learning.endpoint_config import EndpointConfig
from art_rl.learning.endpoint_environment import EndpointEnvironment
from art_rl.learning.endpoint_learner import EndpointLearner
from art_rl.learning.endpoint_result import EndpointResult
from art_rl.schedules.hand_made import Density

# Starts whose levels all agree within this ratio count as the same.
_SAME_START = 1.1
_FEWEST_POINTS, _FEWEST_ITERATIONS = 16, 20
_CHECKED_STATES = 64


def start_densities(names, sigma_data: float, sigma_min: float) -> dict[str, Density]:
    """Node densities an actor may start from; "edm" is rho = 7, made finite at 0 by sigma_min."""
    c = sigma_data
    known: dict[str, Density] = {
        "gaussian": lambda s: (s**2 + c**2) ** -0.75,
        "arctan": lambda s: 1 / (s**2 + c**2),
        "cosine": lambda s: 1 / (s**2 + 1),
        "edm": lambda s: (s + sigma_min) ** (1 / 7 - 1),
    }
    return {name: known[name] for name in names}


class EndpointRun:
    """Environments, finished budgets, the learners in progress and the counters.

    Args:
        denoiser: the model.
        states: starting states for training and for validation.
        labels: their one-hot labels, or None each.
        sigma_range: (sigma_max, sigma_min).
        solver: a key of SOLVERS.
        config: settings.
        starts: start densities by name.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        states: tuple[Tensor, Tensor],
        labels: tuple[Tensor | None, Tensor | None],
        sigma_range: tuple[float, float],
        solver: str,
        config: EndpointConfig,
        starts: dict[str, Density],
    ) -> None:
        self.denoiser, self.solver, self.config, self.starts = denoiser, solver, config, starts
        self.sigma_max, self.sigma_min = map(float, sigma_range)
        reference = {
            "steps": config.reference_steps,
            "solver": config.reference_solver,
            "sigma_min": config.reference_sigma_min or self.sigma_min,
            "check": _CHECKED_STATES,
        }
        self.train, self.valid = (
            EndpointEnvironment(
                denoiser, x, self.sigma_max, solver, label, config.batch_rows, reference
            )
            for x, label in zip(states, labels, strict=True)
        )
        self.levels: dict[int, Tensor] = {}
        self.coefficients: dict[int, Tensor] = {}
        self.reports: dict[int, dict] = {}
        self.current: dict = {}  # JSON-like description of the budget in progress
        self.learners: list[EndpointLearner] = []
        self.seconds, self.lines = 0.0, 0

    @property
    def nfe_spent(self) -> int:
        """Network evaluations so far, one per state and call."""
        return self.train.calls + self.valid.calls

    def identity(self, budgets: list[int]) -> str:
        """Digest of everything that decides the numbers."""
        probe = np.geomspace(self.sigma_min, self.sigma_max, 65)
        return digest(
            {
                "config": self.config.digest,
                "model": self.denoiser.digest,
                "solver": self.solver,
                "budgets": budgets,
                "range": [self.sigma_max, self.sigma_min],
                "starts": {name: list(map(float, f(probe))) for name, f in self.starts.items()},
                "states": [_sha256(env.x) for env in (self.train, self.valid)],
                "labels": [
                    None if env.labels is None else _sha256(env.labels)
                    for env in (self.train, self.valid)
                ],
            }
        )

    def density(self, start: str) -> Density:
        """The node density called ``start``: a given one, or "learned_K" of a finished budget."""
        if start in self.starts:
            return self.starts[start]
        K = int(start.removeprefix("learned_"))
        base, coefficients = self.density(self.reports[K]["start"]), self.coefficients[K].numpy()
        knots = np.linspace(0, np.log1p(self.sigma_max / self.sigma_min), len(coefficients))

        def learned(s: np.ndarray) -> np.ndarray:
            return base(s) * np.exp(np.interp(np.log1p(s / self.sigma_min), knots, coefficients))

        return learned

    def begin(self, K: int) -> None:
        """Rank the starts of budget K and prepare its trials, unless a checkpoint has them."""
        if self.current.get("budget") == K and self.learners:
            return
        self.current = {"budget": K, "spent": self.nfe_spent, "began": self.seconds}
        self.learners = []
        if K == 1:
            return
        names = list(self.starts)
        learned = [k for k in self.levels if 1 < k < K]
        if self.config.transfer and learned:
            names.append(f"learned_{max(learned)}")
        levels = {name: self._actor(K, name).levels(None) for name in names}
        errors = dict(zip(names, self._errors(list(levels.values())), strict=True))
        chosen: list[str] = []
        for name in sorted(names, key=errors.get):
            inner = [levels[other][1:-1].log() for other in (*chosen, name)]
            gaps = [(inner[-1] - other).abs().max() for other in inner[:-1]]
            if len(chosen) < self.config.trials and all(g > np.log(_SAME_START) for g in gaps):
                chosen.append(name)
        trials, iterations, points = self._sizes(K, len(chosen))
        self.current |= {
            "start_errors": errors,
            "trials": chosen[:trials],
            "iterations": iterations,
            "points": points,
        }
        self._prepare()

    def _sizes(self, K: int, trials: int) -> tuple[int, int, int]:
        """Trials, iterations and points of budget K within config.evaluations."""
        config = self.config
        iterations, points = config.iterations, min(config.points, len(self.train.x))
        if config.evaluations is None:
            return trials, iterations, points
        one = iterations * (config.draws + 1) * points * (nfe(self.solver, K) - 1)
        while trials > 1 and one * (1 + (trials - 1) * config.trial_share) > config.evaluations:
            trials -= 1
        if one > config.evaluations:
            root = (config.evaluations / one) ** 0.5
            iterations = min(iterations, max(_FEWEST_ITERATIONS, round(iterations * root)))
            points = min(points, max(_FEWEST_POINTS, round(points * root)))
        return trials, iterations, points

    def _actor(self, K: int, start: str) -> EndpointActor:
        density = self.density(start)
        return EndpointActor(density, K, self.sigma_max, self.sigma_min, self.config.knots)

    def _prepare(self) -> None:
        c = self.current
        self.learners = [
            EndpointLearner(
                self._actor(c["budget"], name),
                self.train,
                self.config,
                c["iterations"],
                c["points"],
                trial,
            )
            for trial, name in enumerate(c["trials"])
        ]

    def _errors(self, levels: list[Tensor]) -> list[float]:
        """Endpoint RMSE of schedules on the first config.start_points training states."""
        index = torch.arange(min(self.config.start_points, len(self.train.x)))
        return self.train.run(torch.stack(levels), index).errors.sqrt().tolist()

    @property
    def share_of_budget(self) -> float:
        """One iteration's share of the budget in progress, for a progress bar."""
        c = self.current
        extra = (len(c["trials"]) - 1) * self.config.trial_share
        return 1 / (c["iterations"] * (1 + extra))

    def learner(self) -> EndpointLearner | None:
        """The learner whose turn it is; None when the budget is learned."""
        if not self.learners:
            return None
        if len(self.learners) > 1:
            least = max(1, round(self.config.trial_share * self.current["iterations"]))
            for learner in self.learners:
                if learner.iteration < least:
                    return learner
            errors = self._errors([one.actor.levels(one.coefficients) for one in self.learners])
            self.current["trial_errors"] = errors
            self.current["winner"] = int(np.argmin(errors))
            self.learners = [self.learners[self.current["winner"]]]
        return None if self.learners[0].done else self.learners[0]

    def finish(self) -> None:
        """Choose among the deterministic policies of the learner on the validation states."""
        c, K = self.current, self.current["budget"]
        report: dict = {"start": None, "improved": False}
        if K == 1:
            self.levels[K] = torch.tensor([self.sigma_max, 0.0], dtype=torch.float64)
        else:
            learner = self.learners[0]
            candidates = learner.candidates
            levels = [learner.actor.levels(value) for value in candidates.values()]
            outcome = self.valid.run(torch.stack(levels), torch.arange(len(self.valid.x)))
            errors = dict(zip(candidates, outcome.errors.sqrt().tolist(), strict=True))
            chosen = min(errors, key=errors.get)
            self.levels[K] = levels[list(candidates).index(chosen)]
            self.coefficients[K] = candidates[chosen]
            report = {
                "start": c["trials"][c.get("winner", 0)],
                "start_errors": c["start_errors"],
                "trials": c["trials"],
                "trial_errors": c.get("trial_errors"),
                "iterations": c["iterations"],
                "points": c["points"],
                "chosen": chosen,
                "validation_errors": errors,
                "rmse_start": errors["start"],
                "rmse_learned": errors[chosen],
                "improved": chosen != "start",
            }
        report["verdict"] = "improved" if report["improved"] else "not improved over its start"
        report["reference_error"] = self.train.reference.error
        report["nfe_spent"] = self.nfe_spent - c["spent"]
        report["seconds"] = round(self.seconds - c["began"], 3)
        self.reports[K] = report
        self.learners, self.current = [], {}

    def state(self, identity: str) -> tuple[dict[str, Tensor], dict]:
        """Checkpoint content."""
        tensors = {f"levels.{K}": value for K, value in self.levels.items()}
        tensors |= {f"coefficients.{K}": value for K, value in self.coefficients.items()}
        head = {
            "identity": identity,
            "reports": {str(K): report for K, report in self.reports.items()},
            "current": self.current,
            "calls": [self.train.calls, self.valid.calls],
            "seconds": self.seconds,
            "lines": self.lines,
            "learners": [],
        }
        for i, learner in enumerate(self.learners):
            learning, numbers = learner.state()
            tensors |= {f"learner.{i}.{name}": value for name, value in learning.items()}
            head["learners"].append(numbers)
        return tensors, head

    def restore(self, tensors: dict[str, Tensor], head: dict) -> None:
        """Continue from `state`; the reference solutions were computed again, bit for bit."""
        self.reports = {int(K): report for K, report in head["reports"].items()}
        self.levels = {K: tensors[f"levels.{K}"] for K in self.reports}
        self.coefficients = {
            K: tensors[f"coefficients.{K}"] for K in self.reports if f"coefficients.{K}" in tensors
        }
        self.train.calls, self.valid.calls = head["calls"]
        self.seconds, self.lines = head["seconds"], head["lines"]
        self.current = head["current"]
        if self.current.get("trials"):
            self._prepare()
            if "winner" in self.current:
                self.learners = [self.learners[self.current["winner"]]]
            for i, (learner, numbers) in enumerate(
                zip(self.learners, head["learners"], strict=True)
            ):
                prefix = f"learner.{i}."
                learning = {
                    name.removeprefix(prefix): value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
                learner.restore(learning, numbers)

    def result(self) -> EndpointResult:
        report = {
            "budgets": {str(K): self.reports[K] for K in sorted(self.reports)},
            "reference_error": self.train.reference.error,
            "nfe_spent": self.nfe_spent,
            "seconds": round(self.seconds, 3),
        }
        return EndpointResult(
            self.config, self.solver, self.denoiser.digest, self.levels, self.coefficients, report
        )


def _sha256(x: Tensor) -> str:
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
