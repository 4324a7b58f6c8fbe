"""What learning costs at equal quality: ART-RL on the measured endpoint error against LD3's back-propagation.

    snakemake --cores all --configfile config/rivals.yaml
    python benchmarks/learning_cost.py [--models gmm1d_edm gmm64d] [--solvers euler heun] [--budgets 4 10]

Models, learners and LD3 as config/rivals.yaml has them; its finished run (``--results``: where) brings LD3's
lists with their costs, the networks and profiles.  Counted are network evaluations (one sample in one call, a
backward pass two) of one (model, solver, K), reference solutions apart:

    to LD3's    ART-RL until its policy is within 1 % of LD3's final RMSE, all starts and trials paid for.
                The policy is the best trial's by the learner's own comparisons (none before the first of
                them), in the last stage the average of its iterations, at the end what the learner returns;
                the first such policy is found by bisection
    LD3         until its own validation error is within 1 % of its last
    in all      what either spends to its end

RMSE: of the endpoints of the same fresh states, which neither has seen.  ART-RL runs as configured and,
variant "small", with fewer trials, compared early, fewer iterations and early states.

Writes benchmarks/results/learning_cost.json and .md (``--out`` a stem of another place) after every cell, and
goes on from there: a cell is learned again only if its settings differ.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.experiments.targets import Targets
from art_rl.files import digest, write_text
from art_rl.learning import EndpointError
from art_rl.learning.budgets import BudgetRun
from art_rl.learning.ensemble import Ensemble
from art_rl.learning.ld3 import BACKWARD
from art_rl.registry import ORDERS, SOLVERS, nfe
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.closed_form import node_density
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule
from art_rl.settings.experiment import check_configuration
from art_rl.settings.learners import EndpointRun
from art_rl.settings.load import load
from art_rl.settings.measuring import Control
from art_rl.settings.rivals import LD3Settings

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "results" / "learning_cost"
SAMPLES = {"gmm1d_edm": 4096, "gmm64d": 4096, "digits": 512}
EXACT = ("euler", "heun", "ipndm4", "dpmpp2m", "unipc2")
USED = {"gmm1d_edm": EXACT, "gmm64d": EXACT, "digits": ("euler", "heun", "ipndm4", "ipndm3")}
FRESH_SEED = 900
EQUAL = 1.01
VARIANTS = ("config", "small")
# Sizes that the small variant has at most, and when it compares its trials.
SMALL = {"trials": 4, "iterations": 16, "start_points": 256, "least_points": 16}
EARLY = [0.125, 0.25]


class Model:
    """A model of the configuration: its experiment, the settings of both learners, fresh states."""

    def __init__(self, name: str, targets: Targets, results: Path) -> None:
        network = results / "network.safetensors"
        settings = targets.models[name]
        self.experiment = build_experiment(
            name, settings, network if targets.kind(name).network else None, rollouts=True
        )
        self.control = Control(**targets.block(name, "control"))
        self.learner = targets.run_settings(name, "endpoint")
        self.ld3 = LD3Settings(**targets.block(name, "ld3"))
        self.identity = {"model": self.experiment.denoiser.digest, "fresh": SAMPLES[name]}
        self.profile = Profile.load(results / "profile.npz")
        steps = targets.sampling(name)["reference_steps"]
        n = SAMPLES[name]
        self.fresh = Ensemble(
            self.experiment.denoiser,
            self.experiment.draw(n, FRESH_SEED),
            self.experiment.sigma_max,
            "euler",
            self.experiment.labels(n, FRESH_SEED),
            self.settings("config", 0).batch_rows,
            {"steps": steps, "sigma_min": self.experiment.sigma_min},
        )

    def settings(self, variant: str, seed: int) -> EndpointRun:
        """Settings of a run of the learner."""
        full = EndpointRun.from_dict({**self.learner, "seed": seed})
        if variant == "config":
            return full
        sizes = {name: min(getattr(full, name), most) for name, most in SMALL.items()}
        return full.replace(rounds=EARLY, **sizes)

    def rmse(self, levels: Tensor, solver: str) -> list[float]:
        """RMSE of (N, K + 1) levels on the fresh states."""
        self.fresh.solver = solver
        return self.fresh.errors(levels, torch.arange(len(self.fresh.x))).sqrt().tolist()

    def run(self, solver: str, budgets: list[int], settings: EndpointRun) -> BudgetRun:
        """The learner of one solver, as workflow/scripts/learn_endpoint.py has it."""
        n = self.control.states
        x = self.experiment.draw(n, self.control.seed)
        labels = self.experiment.labels(n, self.control.seed)
        half = n // 2
        reward = EndpointError(
            self.experiment.denoiser,
            x[:half],
            x[half:],
            self.experiment.sigma_max,
            self.experiment.sigma_min,
            solver,
            labels=(None, None) if labels is None else (labels[:half], labels[half:]),
            batch_rows=settings.batch_rows,
            reference_steps=settings.reference_steps,
        )
        densities = {
            "quadrature": node_density(self.profile),
            "propagated": node_density(self.profile, propagated=True),
        }
        if ORDERS[solver] > 1:
            densities["quadrature_order"] = node_density(self.profile, ORDERS[solver])
        return BudgetRun(reward, budgets, settings, densities)


def back_propagation(model: Model, results: Path, solver: str, K: int) -> dict[str, Any]:
    """LD3's cost and final RMSE, from a finished run."""
    path, settings = results / "schedules/ld3" / solver / f"K{K}.json", model.ld3
    schedule = Schedule.load(path)
    if schedule.provenance["config_digest"] != settings.digest:
        raise ArtRLError(f"{path} must be of the LD3 settings of config/rivals.yaml; run it again")
    details = schedule.provenance["details"]
    own = settings.valid + details["steps"] * (settings.valid + (1 + BACKWARD) * settings.train)
    evaluations = own * nfe(solver, K)
    reference = details["evaluations"] - evaluations
    return {
        "rmse": model.rmse(torch.tensor([schedule.sigmas], dtype=torch.float64), solver)[0],
        "to_own": details["evaluations_to_1_percent"] - reference,
        "evaluations": evaluations,
        "reference": reference,
    }


def policy(job: BudgetRun) -> Tensor | None:
    """(K + 1,) levels the learner would give if it ended now; None before its first comparison."""
    now, learners = job.current, job.learners
    if len(learners) > 1:
        if not now["round"]:
            return None
        learners = [min(learners, key=lambda one: now["trial_merits"][one.trial])]
    best = learners[0]
    return best.actor.levels(best.candidates["average"] if best.averaged else best.coefficients)


def art_rl(
    model: Model,
    solver: str,
    wanted: dict[int, float],
    done: dict[int, dict],
    settings: EndpointRun,
) -> Iterator[tuple[int, dict]]:
    """K and ART-RL's cost and final RMSE, budget by budget.

    Args:
        wanted: K -> LD3's final RMSE.
        done: budgets that an earlier run has finished.
    """
    job = model.run(solver, list(wanted), settings)
    reference = job.evaluations
    for K, row in done.items():
        job.reports[K] = {"start": row["start"]}
        job.levels[K], job.coefficients[K] = (
            torch.tensor(row[name], dtype=torch.float64) for name in ("levels", "coefficients")
        )
    path: dict[int, list[tuple[int, Tensor]]] = {K: [] for K in wanted}
    given = set(done)
    while True:
        metrics = job.step()
        for K in sorted(set(job.reports) - given):
            given.add(K)
            report = job.reports[K]
            path[K].append((report["evaluations"], job.levels[K]))
            final, reached = first_within(model, solver, path[K], EQUAL * wanted[K])
            yield (
                K,
                {
                    "rmse": final,
                    "to_ld3": reached,
                    "evaluations": report["evaluations"],
                    "reference": reference,
                    "start": report["start"],
                    "trials": len(report["trials"]),
                    "levels": job.levels[K].tolist(),
                    "coefficients": job.coefficients[K].tolist(),
                },
            )
        if metrics is None:
            break
        K, levels = int(metrics["budget"]), policy(job)
        if levels is not None and not (path[K] and torch.equal(levels, path[K][-1][1])):
            path[K].append((job.evaluations - job.current["spent"], levels))


def first_within(
    model: Model, solver: str, path: list[tuple[int, Tensor]], bound: float
) -> tuple[float, int | None]:
    """RMSE of the last levels of ``path``; evaluations of the first within ``bound``, by bisection."""

    def rmse(index: int) -> float:
        return model.rmse(path[index][1][None], solver)[0]

    final, low, high = rmse(-1), 0, len(path) - 1
    if final > bound:
        return final, None
    while low < high:
        middle = (low + high) // 2
        if rmse(middle) <= bound:
            high = middle
        else:
            low = middle + 1
    return final, path[high][0]


def _millions(values: list[int | None]) -> str:
    """The most of the seeds; a dash if one has not arrived."""
    found = [value for value in values if value is not None]
    return f"{max(found) / 1e6:.3g}" if found and len(found) == len(values) else "-"


def _lines(cell: dict) -> dict[str, str]:
    """Label -> text of one cell; the most over seeds."""
    ld3 = cell["ld3"]
    lines = {"LD3": _millions([ld3["to_own"]]), "LD3, in all": _millions([ld3["evaluations"]])}
    for variant, label in (("config", "ART-RL"), ("small", "ART-RL, small")):
        runs = [one for one in cell["art_rl"] if one["variant"] == variant]
        if not runs:
            continue
        lines |= {
            f"{label} to LD3's RMSE": _millions([one["to_ld3"] for one in runs]),
            f"{label}, in all": _millions([one["evaluations"] for one in runs]),
            f"{label}: RMSE over LD3's": ", ".join(f"{r['rmse'] / ld3['rmse']:.3f}" for r in runs),
        }
    return lines


def table(cells: list[dict]) -> str:
    """A table per model; evaluations in millions."""
    text = []
    for name in dict.fromkeys(cell["model"] for cell in cells):
        own = [cell for cell in cells if cell["model"] == name]
        budgets = sorted({cell["K"] for cell in own})
        text += [
            f"{name}\n",
            "| solver | | " + " | ".join(f"K = {K}" for K in budgets) + " |",
            "|---" * (2 + len(budgets)) + "|",
        ]
        for solver in dict.fromkeys(cell["solver"] for cell in own):
            lines = {cell["K"]: _lines(cell) for cell in own if cell["solver"] == solver}
            for label in dict.fromkeys(label for each in lines.values() for label in each):
                shown = [lines.get(K, {}).get(label, "") for K in budgets]
                text.append(f"| {SOLVERS[solver].label} | {label} | " + " | ".join(shown) + " |")
        text.append("")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(SAMPLES), choices=SAMPLES)
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, help="default: by model")
    parser.add_argument("--budgets", type=int, nargs="+", default=[4, 5, 6, 8, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="of a finished run")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    targets = Targets(check_configuration(load(ROOT / "config/rivals.yaml")))
    stored = options.out.with_suffix(".json")
    earlier = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    cells = {(cell["model"], cell["solver"], cell["K"]): cell for cell in earlier}

    def save() -> None:
        write_text(stored, json.dumps(list(cells.values()), indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), table(list(cells.values())))

    for name in options.models:
        results = options.results / name
        model = Model(name, targets, results)
        ld3_key = digest({**model.identity, "settings": model.ld3.plain()})
        for solver in options.solvers or USED[name]:
            has = {K for _, K in targets.cells(name, solver)}
            budgets = [K for K in options.budgets if K in has]
            for K in budgets:
                cell = cells.setdefault(
                    (name, solver, K), {"model": name, "solver": solver, "K": K, "art_rl": []}
                )
                if cell.get("ld3", {}).get("settings") != ld3_key:
                    cell["ld3"] = {
                        "settings": ld3_key,
                        **back_propagation(model, results, solver, K),
                    }
            mine = {K: cells[name, solver, K] for K in budgets}
            for variant, seed in itertools.product(options.variants, options.seeds):
                settings = model.settings(variant, seed)
                head = {
                    "settings": digest(
                        {
                            **model.identity,
                            "settings": settings.plain(),
                            "control": model.control.plain(),
                            "budgets": budgets,
                        }
                    ),
                    "variant": variant,
                    "seed": seed,
                }
                done = {}
                for K, cell in mine.items():
                    old = [
                        r for r in cell["art_rl"] if (r["variant"], r["seed"]) == (variant, seed)
                    ]
                    if old and old[0]["settings"] == head["settings"]:
                        done[K] = old[0]
                    else:
                        cell["art_rl"] = [r for r in cell["art_rl"] if r not in old]
                if len(done) == len(mine):
                    continue
                wanted = {K: cell["ld3"]["rmse"] for K, cell in mine.items()}
                for K, row in art_rl(model, solver, wanted, done, settings):
                    mine[K]["art_rl"].append({**head, **row})
                    mine[K]["art_rl"].sort(key=lambda one: (one["variant"], one["seed"]))
                    print(name, solver, K, _lines(mine[K]), row["start"], flush=True)
                    save()


if __name__ == "__main__":
    main()
