"""The natural actor-critic over all budgets of one reward: starts, trials and the final choice.

Per budget: every start density (and the one learned for the next smaller budget) is measured; the
best few that differ are learned from (trials), and after every round the better half goes on, in the end
the best alone (successive halving); a few deterministic policies are then compared on the states to
choose by, the start among them and, at large K, the smaller budget's density.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.tensors import under
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.learning.actors import KNOTS, ShareActor
from art_rl.learning.decoupled import DecoupledActor
from art_rl.learning.endpoint import EndpointLearner
from art_rl.learning.evaluate import verdict
from art_rl.learning.natural import NaturalLearner
from art_rl.learning.policy import PolicyLearner
from art_rl.learning.result import BudgetsJob, BudgetsResult
from art_rl.learning.rewards import EndpointError, Reward
from art_rl.learning.run import run
from art_rl.schedules.hand_made import Density
from art_rl.settings.learners import EndpointRun, EndpointSettings, NaturalSettings

__all__ = ["BudgetRun", "learn_budgets", "start_densities"]

Sizes = NaturalSettings | EndpointSettings
LIST = "list"
_SAME_START = 1.1  # starts whose levels all agree within this ratio count as the same
_FEWEST_POINTS, _FEWEST_ITERATIONS = 16, 12


def start_densities(sigma_data: float, sigma_min: float) -> dict[str, Density]:
    """Node densities an actor may start from; sigma_min keeps "edm" (rho = 7) and "dpm" finite at 0."""
    c = sigma_data
    return {
        "gaussian": lambda s: (s**2 + c**2) ** -0.75,
        "arctan": lambda s: 1 / (s**2 + c**2),
        "cosine": lambda s: 1 / (s**2 + 1),
        "edm": lambda s: (s + sigma_min) ** (1 / 7 - 1),
        "dpm": lambda s: 1 / (s + sigma_min),
    }


def rounds(shares: Sequence[float], iterations: int) -> list[int]:
    """Iterations after which trials are compared."""
    return [max(1, round(share * iterations)) for share in shares]


def halved(trials: int, last: bool) -> int:
    """Trials that go on after a round."""
    return 1 if last else -(-trials // 2)


def spent(
    kind: type[PolicyLearner], settings: Sizes, one: int, trials: int, iterations: int, points: int
) -> int:
    """Network evaluations of one budget's updates; ``one``: of an iteration per state."""
    total, ends = 0, rounds(settings.rounds, iterations)
    for iteration in range(iterations):
        for end in ends:
            if iteration == end:
                trials = halved(trials, end == ends[-1])
        states = kind.points_at(iteration, iterations, points, settings.fewest_points)
        total += trials * one * states
    return total


def sizes(
    kind: type[PolicyLearner],
    settings: Sizes,
    one: int,
    trials: int,
    iterations: int,
    points: int,
    limit: int | None,
) -> tuple[int, int, int]:
    """Trials, iterations and points of one budget, made smaller until its updates cost ``limit``.

    Args:
        kind: of learner.
        settings: when trials are compared, and the fewest points of an iteration.
        one: network evaluations of an iteration per point.
        trials, iterations, points: wanted; trials are dropped first, then the others alike.
        limit: network evaluations, or None; the fewest points and iterations are kept above it.
    """
    if limit is None or not one:
        return trials, iterations, points
    while trials > 1 and spent(kind, settings, one, trials, iterations, points) > limit:
        trials -= 1
    cost = spent(kind, settings, one, trials, iterations, points)
    if cost > limit:
        root = (limit / cost) ** 0.5
        iterations = min(iterations, max(_FEWEST_ITERATIONS, round(iterations * root)))
        points = min(points, max(_FEWEST_POINTS, round(points * root)))
    return trials, iterations, points


def learn_budgets(
    reward: Reward,
    budgets: Sequence[int],
    settings: NaturalSettings | EndpointRun | None = None,
    method: str = "art_rl",
    *,
    densities: Mapping[str, Density] | None = None,
    metrics_path: str | os.PathLike | None = None,
    state_path: str | os.PathLike | None = None,
    progress: bool = False,
    decoupled: bool = False,
) -> BudgetsResult:
    """Learn the schedules of all budgets of one reward.

    Args:
        reward: `rewards.HeldCost` (a table of trajectories) or `rewards.EndpointError` (a solver).
        budgets: values of K, each >= 1; order and repetitions do not matter.
        settings: sizes and seed; None: NaturalSettings, for the measured endpoint error EndpointRun.
        method: row of the tables, in the schedules' provenance.
        densities: further node densities r(sigma) to try as start (e.g. of closed-form ART), by name.
        metrics_path, state_path, progress: see `run.run`.
        decoupled: of the measured endpoint error: then learn, from the lists found, the levels that the
            denoiser is told as well (`decoupled`).  Metrics are those of the second part.

    Raises:
        ArtRLError: bad budgets, a damaged state file, decoupled lists of another reward or solver.
    """
    default = EndpointRun if isinstance(reward, EndpointError) else NaturalSettings
    settings = settings or default()
    if decoupled and not isinstance(reward, EndpointError):
        raise ArtRLError(
            "decoupled lists are learned on the measured endpoint error (rewards.EndpointError), got "
            f"{type(reward).__name__}, which knows no levels that a denoiser is told"
        )
    job = BudgetRun(reward, budgets, settings, densities)
    if decoupled:
        state = None if state_path is None else Path(state_path).with_suffix(".list.safetensors")
        run(job, state_path=state, progress=progress)
        job = BudgetRun(reward, budgets, settings, densities, job)
    run(job, metrics_path=metrics_path, state_path=state_path, progress=progress)
    return job.found(method, reward.solver, reward.model, reward.model_digest)


class BudgetRun(BudgetsJob):
    """Finished budgets, the learners in progress and the counters; a job for `run.run`.

    Args:
        reward: what is learned on.
        budgets: values of K, each >= 1; order and repetitions do not matter.
        settings: sizes and seed.
        densities: further node densities r(sigma) to try as start, by name.
        lists: the finished job that found the lists alone, to learn two lists from.

    Raises:
        ArtRLError: bad budgets.
    """

    def __init__(
        self,
        reward: Reward,
        budgets: Sequence[int],
        settings: NaturalSettings | EndpointRun,
        densities: Mapping[str, Density] | None = None,
        lists: "BudgetRun | None" = None,
    ) -> None:
        super().__init__(budgets, settings)
        self.reward, self.lists = reward, lists
        self.actor: type[ShareActor] = ShareActor if lists is None else DecoupledActor
        self.draws = settings.draws * self.actor.PER_LEVEL
        self.kind: type[PolicyLearner] = (
            EndpointLearner if isinstance(reward, EndpointError) else NaturalLearner
        )
        own = start_densities(reward.sigma_data, reward.sigma_min)
        self.starts: dict[str, Density] = own | dict(densities or {})
        probe = np.geomspace(reward.sigma_min, reward.sigma_max, 65)
        self.identity: str = digest(
            {
                "settings": settings.model_dump(exclude={"checkpoint_every"}),
                "model": reward.model_digest,
                "budgets": self.budgets,
                "range": [reward.sigma_max, reward.sigma_min],
                "starts": {name: list(map(float, f(probe))) for name, f in self.starts.items()},
                **reward.identity(),
                **({} if lists is None else {"lists": lists.identity}),
            }
        )
        self.current: dict = {}  # JSON-like description of the budget in progress
        self.learners: list[PolicyLearner] = []

    @property
    def evaluations(self) -> int:
        """Network evaluations so far, one per state and call."""
        return self.reward.evaluations

    def step(self) -> dict[str, float] | None:
        """One iteration of the learner whose turn it is; None when all budgets are learned."""
        for K in self.budgets:
            if K in self.levels:
                continue
            self._begin(K)
            learner = self._turn()
            if learner is not None:
                return learner.step()
            self._finish()
        return None

    def density(self, start: str, budget: int) -> Density:
        """The node density called ``start``: a given one, "learned_K" of a finished budget, or "list".

        The last is the list found alone for this ``budget``.
        """
        if start in self.starts:
            return self.starts[start]
        if start == LIST and self.lists is not None:
            return self.lists.density(f"learned_{budget}", budget)
        K = int(start.removeprefix("learned_"))
        base = self.density(self.reports[K]["start"], K)
        coefficients = self.coefficients[K][:KNOTS].numpy()
        sigma_max, sigma_min = self.reward.sigma_max, self.reward.sigma_min
        knots = np.linspace(0, np.log1p(sigma_max / sigma_min), len(coefficients))

        def learned(s: np.ndarray) -> np.ndarray:
            return base(s) * np.exp(np.interp(np.log1p(s / sigma_min), knots, coefficients))

        return learned

    def _begin(self, K: int) -> None:
        """Rank the starts of budget K and prepare its trials, unless they are under way."""
        if self.current.get("budget") == K:
            return
        self.current = {"budget": K, "spent": self.evaluations}
        self.learners = []
        if K == 1:
            return
        names = list(self.starts)
        if smaller := self._smaller(K):
            names.append(smaller)
        if self.lists is not None:
            names.append(LIST)
        levels = {name: self._actor(K, name).levels(None) for name in names}
        merits = dict(zip(names, self._merits(list(levels.values())), strict=True))
        chosen: list[str] = []
        for name in sorted(names, key=merits.__getitem__):
            inner = [levels[other].reshape(-1, K + 1)[0, 1:-1].log() for other in (*chosen, name)]
            gaps = [(inner[-1] - other).abs().max() for other in inner[:-1]]
            if len(chosen) < self.settings.trials and all(g > np.log(_SAME_START) for g in gaps):
                chosen.append(name)
        if self.kind.REPEATS:
            chosen = (chosen * self.settings.trials)[: self.settings.trials]
        trials, iterations, points = self._sizes(K, len(chosen))
        self.current |= {
            "start_merits": merits,
            "trials": chosen[:trials],
            "alive": list(range(trials)),
            "round": 0,
            "iterations": iterations,
            "points": points,
        }
        self._prepare()

    def _smaller(self, K: int) -> str | None:
        """The start learned for the next smaller budget, if there is one."""
        learned = [k for k in self.levels if 1 < k < K]
        return f"learned_{max(learned)}" if learned else None

    def _sizes(self, K: int, trials: int) -> tuple[int, int, int]:
        """Trials, iterations and points of budget K within settings.limit."""
        settings = self.settings
        iterations, points = settings.iterations, min(settings.points, self.reward.learning)
        one = self.kind.runs(self.draws, self.actor.PER_LEVEL * (K - 1)) * self.reward.cost(K)
        return sizes(self.kind, settings, one, trials, iterations, points, settings.limit)

    def _actor(self, K: int, start: str) -> ShareActor:
        reward = self.reward
        return self.actor(self.density(start, K), K, reward.sigma_max, reward.sigma_min)

    def _prepare(self) -> None:
        c, settings = self.current, self.settings
        self.learners = [
            self.kind(
                self._actor(c["budget"], c["trials"][trial]),
                self.reward,
                c["iterations"],
                self.draws,
                c["points"],
                settings.seed,
                trial,
                settings.fewest_points,
            )
            for trial in c["alive"]
        ]

    def _merits(self, levels: list[Tensor]) -> list[float]:
        """Merits of schedules on the first settings.start_points learning states."""
        return self.reward.merits(torch.stack(levels), self.settings.start_points)

    def _turn(self) -> PolicyLearner | None:
        """The learner whose turn it is; None when the budget is learned."""
        c = self.current
        while len(self.learners) > 1:
            ends = rounds(self.settings.rounds, c["iterations"])
            for learner in self.learners:
                if learner.iteration < ends[c["round"]]:
                    return learner
            merits = self._merits([one.actor.levels(one.coefficients) for one in self.learners])
            seen = c.setdefault("trial_merits", [None] * len(c["trials"]))
            for learner, merit in zip(self.learners, merits, strict=True):
                seen[learner.trial] = merit
            c["round"] += 1
            best = np.argsort(merits, kind="stable").tolist()
            kept = best[: halved(len(merits), c["round"] == len(ends))]
            self.learners = [self.learners[i] for i in sorted(kept)]
            c["alive"] = [learner.trial for learner in self.learners]
        if not self.learners or self.learners[0].done:
            return None
        return self.learners[0]

    def _finish(self) -> None:
        """Choose among the deterministic policies of the learner on the states to choose by."""
        c, K = self.current, self.current["budget"]
        report: dict = {"start": None, "improved": False}
        if K == 1:
            self.levels[K] = torch.tensor([self.reward.sigma_max, 0.0], dtype=torch.float64)
        else:
            learner = self.learners[0]
            policies = {name: (learner.actor, value) for name, value in learner.candidates.items()}
            smaller = self._smaller(K)
            if smaller and len(learner.coefficients) < K - 1:
                # Large K: few trials and iterations; the smaller budget's density may be better as it is.
                other = self._actor(K, smaller)
                policies[smaller] = other, other.start()
            levels = {name: actor.levels(value) for name, (actor, value) in policies.items()}
            merits = self.reward.merits(torch.stack(list(levels.values())), None)
            named = dict(zip(levels, merits, strict=True))
            chosen = min(named, key=named.__getitem__)
            self.levels[K], self.coefficients[K] = levels[chosen], policies[chosen][1]
            report = {
                "start": chosen if chosen == smaller else c["trials"][c["alive"][0]],
                "start_merits": c["start_merits"],
                "trials": c["trials"],
                "trial_merits": c.get("trial_merits"),
                "iterations": c["iterations"],
                "points": c["points"],
                "chosen": chosen,
                "choice_merits": named,
                "merit_start": named["start"],
                "merit_learned": named[chosen],
                "improved": chosen != "start",
            }
        judged = self.reward.judge(K, self.levels[K])
        report = {**report, "verdict": verdict({**report, **judged}), **judged}
        report["evaluations"] = self.evaluations - c["spent"]
        if self.lists is not None:
            report["evaluations"] += self.lists.reports[K]["evaluations"]
        self.reports[K] = report
        self.learners, self.current = [], {}

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and a JSON-like head that `restore` continues from."""
        tensors, head = super().state()
        head |= {"current": self.current, "counters": self.reward.counters(), "learners": []}
        for i, learner in enumerate(self.learners):
            learning, numbers = learner.state()
            tensors |= {f"learner.{i}.{name}": value for name, value in learning.items()}
            head["learners"].append(numbers)
        return tensors, head

    def restore(self, tensors: dict[str, Tensor], head: dict) -> None:
        """Continue from `state`; reference solutions were computed again, bit for bit."""
        super().restore(tensors, head)
        self.reward.restore(head["counters"])
        self.current = head["current"]
        if self.current.get("trials"):
            self._prepare()
            pairs = zip(self.learners, head["learners"], strict=True)
            for i, (learner, numbers) in enumerate(pairs):
                learner.restore(under(tensors, f"learner.{i}."), numbers)
