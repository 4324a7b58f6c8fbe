"""What a checked configuration asks for: cells, and the schedules and learners behind them.

A cell is one (model, solver, method, K) of a table; every cell is measured on every seed block.
Nothing here is a path (`art_rl.experiments.products`) and nothing imports torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from art_rl.registry import (
    CLOSED_FORM,
    HAND_MADE,
    LEARNED,
    METHODS,
    PROFILE,
    Kind,
    kind_of,
    made_from,
    method,
)
from art_rl.settings.experiment import learner_run

Cell = tuple[str, int]


@dataclass(frozen=True)
class LearningJob:
    """One learner and solver on models that ask for the same budgets and seeds.

    Attributes:
        name: of its rule.
        learner: key of the configuration's learners; kind: of that entry.
        solver: the solver it learns for, or "any".
        seeds: its seeds, one run each.
        models: what it runs on.
        budgets: K of the schedules that tables ask for.
        writes: id of the method whose schedules the first seed writes, if any.
    """

    name: str
    learner: str
    kind: str
    solver: str
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    budgets: tuple[int, ...]
    writes: str | None

    @property
    def run(self) -> str:
        """Name of its folder."""
        return self.learner if self.solver == "any" else f"{self.learner}_{self.solver}"


class Targets:
    """Answers about the tables of one configuration.

    Args:
        settings: from `art_rl.settings.experiment.check_configuration`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.models: Mapping[str, Any] = settings["models"]
        self.tables: Mapping[str, Any] = settings["tables"]
        self.learners: Mapping[str, Any] = settings["learners"]
        self.transfer: Mapping[str, Any] = settings.get("transfer", {})

    def kind(self, model: str) -> Kind:
        """The kind of a model."""
        return kind_of(self.models[model])

    def with_network(self, how: str | None = None) -> list[str]:
        """Models that are networks, or those whose weights come to be in one way ("train", "convert")."""
        ways = {name: self.kind(name).network for name in self.models}
        return [name for name, way in ways.items() if way and how in (None, way)]

    def with_features(self, how: str) -> list[str]:
        """Models whose feature network comes to be in one way ("train", "check")."""
        return [name for name in self.models if self.kind(name).features == how]

    def used(self) -> list[str]:
        """Models that tables name, in order of appearance."""
        return list(dict.fromkeys(table["model"] for table in self.tables.values()))

    def solvers(self, model: str | None = None) -> list[str]:
        """Solvers of the tables on ``model`` (of all tables), in order of appearance."""
        wanted = (t["solver"] for t in self.tables.values() if model in (None, t["model"]))
        return list(dict.fromkeys(wanted))

    def metrics(self, model: str) -> list[str]:
        """Metrics of a seed block in the tables on ``model``."""
        own = (t["metrics"] for t in self.tables.values() if t["model"] == model)
        return list(dict.fromkeys(name.removesuffix("_all") for names in own for name in names))

    def pooled(self, model: str) -> bool:
        """Whether a table on ``model`` asks for the FID of all seed blocks together."""
        return any("fid_all" in t["metrics"] for t in self.tables.values() if t["model"] == model)

    def methods_of(self, table: str) -> list[str]:
        """Methods of a table that have a schedule for its solver, in the registry's order."""
        entry = self.tables[table]
        wanted, solver = entry.get("methods", self.settings["methods"]), entry["solver"]
        return [name for name in METHODS if name in wanted and method(name).runs_with(solver)]

    def cells(self, model: str, solver: str | None = None) -> list[Cell]:
        """(method, K) of every table on ``model`` with ``solver`` (with any, one solver after another)."""
        solvers = self.solvers(model) if solver is None else [solver]
        return [(name, K) for each in solvers for name, K, _ in self.blocks(model, each)]

    def methods(self, model: str | None = None) -> set[str]:
        """Methods of the tables on ``model`` (of all tables)."""
        models = self.used() if model is None else [model]
        return {name for each in models for name, _ in self.cells(each)}

    def budgets(self, solver: str = "any") -> list[int]:
        """Budgets of the tables that use ``solver`` ("any": of all tables), increasing."""
        tables = [t for t in self.tables.values() if solver in ("any", t["solver"])]
        return sorted({K for table in tables for K in table["budgets"]})

    def schedules(self, model: str) -> list[tuple[str, str, int]]:
        """(method, solver or "any", K) of every schedule behind a model's cells, without repeats."""
        found = {
            (name, method(name).schedule_solver(solver), K)
            for solver in self.solvers(model)
            for name, K in self.cells(model, solver)
        }
        return sorted(found)

    def budgets_of(self, name: str, solver: str = "any") -> list[int]:
        """Budgets at which tables (with ``solver``; "any": with any) ask for method ``name``."""
        tables = [
            entry
            for table, entry in self.tables.items()
            if solver in ("any", entry["solver"]) and name in self.methods_of(table)
        ]
        return sorted({K for entry in tables for K in entry["budgets"]})

    def fits(self, name: str) -> list[tuple[dict[str, list[int]], list[str]]]:
        """({solver: budgets}, models) of a method that is fitted to a model and solver.

        Models whose tables ask for the same share a rule.
        """
        groups: list[tuple[dict[str, list[int]], list[str]]] = []
        for model in self.models:
            wanted = {
                solver: sorted({K for n, K in self.cells(model, solver) if n == name})
                for solver in self.solvers(model)
            }
            wanted = {solver: budgets for solver, budgets in wanted.items() if budgets}
            known = next((models for other, models in groups if other == wanted), None)
            if known is not None:
                known.append(model)
            elif wanted:
                groups.append((wanted, [model]))
        return groups

    # Learners.

    def learner_of(self, name: str) -> str:
        """The learner whose schedules are the rows of method ``name``."""
        return next(key for key, entry in self.learners.items() if entry.get("method") == name)

    def learning_jobs(self) -> list[LearningJob]:
        """Every learner with all its seeds, grouped over models with the same budgets and seeds.

        A learner runs where tables ask for its method; one of a fine clock on every exact model, and
        there alone with its further seeds, which say how sure the curves are.
        """
        jobs = []
        for learner, entry in self.learners.items():
            groups: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[str]] = {}
            for model in self.models:
                first = entry["kind"] == "clock" and self.kind(model).network
                seeds = tuple(entry["seeds"][:1] if first else entry["seeds"])
                wanted = self.learned(model, entry.get("method"))
                if entry["kind"] == "clock" and not self.kind(model).network:
                    wanted.setdefault("any", ())
                for solver, budgets in wanted.items():
                    groups.setdefault((solver, budgets, seeds), []).append(model)
            for number, ((solver, budgets, seeds), models) in enumerate(groups.items(), 1):
                parts = ["learn", learner, *[solver] * (solver != "any"), str(number)]
                jobs.append(
                    LearningJob(
                        "_".join(parts),
                        learner,
                        entry["kind"],
                        solver,
                        seeds,
                        tuple(models),
                        budgets,
                        entry.get("method"),
                    )
                )
        return jobs

    def learned(self, model: str, name: str | None) -> dict[str, tuple[int, ...]]:
        """solver or "any" -> budgets of the schedules of method ``name`` to be made on a model.

        For its own tables, and to carry over to other budgets and models.
        """
        found: dict[str, set[int]] = {}
        for method_id, solver, K in self.schedules(model):
            if method_id == name:
                found.setdefault(solver, set()).add(K)
        if name is not None and self.transfer.get("method") == name:
            used = method(name).schedule_solver
            if "budget" in self.transfer and "transfer_budget" in self.methods(model):
                for solver in self.solvers(model):
                    found.setdefault(used(solver), set()).add(self.transfer["budget"])
            if self.transfer.get("data") == model and "folder" not in self.transfer:
                for table, entry in self.tables.items():
                    if "transfer_data" in self.methods_of(table):
                        found.setdefault(used(entry["solver"]), set()).update(entry["budgets"])
        return {solver: tuple(sorted(budgets)) for solver, budgets in found.items()}

    def first_seed(self, learner: str) -> int:
        """The seed whose result gives the schedules."""
        return self.learners[learner]["seeds"][0]

    def runs(self, model: str, kinds: Iterable[str]) -> list[tuple[str, int]]:
        """(run, seed) of the learners of some kinds on a model."""
        return [
            (job.run, seed)
            for job in self.learning_jobs()
            if job.kind in kinds and model in job.models
            for seed in job.seeds
        ]

    def fine_runs(self, model: str) -> list[tuple[str, int]]:
        """(learner, seed) of the fine clocks of a model.

        All of an exact one, on a network those whose schedules its tables ask for.
        """
        return self.runs(model, ["clock"])

    def all_runs(self) -> list[tuple[str, str, str, int]]:
        """(model, learner, run, seed) of every learner, exact models first."""
        jobs = self.learning_jobs()
        return [
            (model, job.learner, job.run, seed)
            for model in sorted(self.used(), key=lambda name: bool(self.kind(name).network))
            for job in jobs
            if model in job.models
            for seed in job.seeds
        ]

    def learner_label(self, name: str) -> str:
        """What a reader sees for a learner: its form and what its actor sees."""
        settings = self.learners[name]["settings"]
        form = {"feedback": "feedback", "paper": "paper's form"}[settings.get("form", "feedback")]
        return f"{form}, sees " + ("t, ψ, x" if settings.get("state") == "full" else "t, ψ")

    def run_settings(self, model: str, learner: str) -> dict[str, Any]:
        """Settings of a learner on a model, the model's own values over the common ones."""
        return learner_run(self.settings, model, learner).plain()

    def block(self, model: str, name: str) -> dict[str, Any]:
        """A block of settings, the model's own values over the common ones."""
        return {**self.settings.get(name, {}), **self.models[model].get(name, {})}

    def tables_of(self, model: str) -> dict[str, dict[str, Any]]:
        """The tables on a model, each with its methods and number of seed blocks."""
        every = self.sampling(model)["seed_blocks"]
        return {
            name: {
                **entry,
                "methods": self.methods_of(name),
                "seed_blocks": entry.get("seed_blocks") or every,
            }
            for name, entry in self.tables.items()
            if entry["model"] == model
        }

    # How cells are sampled.

    def sampling(self, model: str) -> dict[str, Any]:
        """Samples, blocks, shards and batches of a model's cells.

        A model with ``sampling`` of its own is sampled shard by shard, a job each; the others as
        ``evaluation`` says, every block and solver in one job, a block drawn as a whole from one seed.
        """
        own, common = self.models[model].get("sampling"), self.settings["evaluation"]
        if own:
            return dict(own)
        samples = self.models[model].get("samples", common["samples"])
        whole = {"samples": samples, "shard": samples, "batch": samples, "device": "cpu"}
        return {**common, **whole}

    def in_one_job(self, model: str) -> bool:
        """Whether one job samples all cells of a model."""
        return not self.models[model].get("sampling")

    def shards(self, model: str, blocks: int | None = None) -> list[tuple[int, int]]:
        """(block, shard) of the model's first ``blocks`` seed blocks (all), in the order of seeds."""
        sampling = self.sampling(model)
        count = -(-sampling["samples"] // sampling["shard"])
        return [(b, s) for b in range(blocks or sampling["seed_blocks"]) for s in range(count)]

    def parts(self, model: str, blocks: int | None = None) -> list[str]:
        """Names of the jobs that a model's seeds are divided into."""
        if self.in_one_job(model):
            return ["all"]
        return [f"block{block}_{shard}" for block, shard in self.shards(model, blocks)]

    def shards_of(self, model: str, part: str) -> list[tuple[int, int]]:
        """(block, shard) of one of `parts`."""
        if part == "all":
            return self.shards(model)
        block, shard = part.removeprefix("block").split("_")
        return [(int(block), int(shard))]

    def groups(self, model: str) -> list[str]:
        """Solvers that are sampled in a job of their own, or "all"."""
        return ["all"] if self.in_one_job(model) else self.solvers(model)

    def cells_of(self, model: str, group: str) -> list[tuple[str, str, int, int]]:
        """(solver, method, K, seed blocks) of one of `groups`."""
        solvers = self.solvers(model) if group == "all" else [group]
        return [(solver, *cell) for solver in solvers for cell in self.blocks(model, solver)]

    def blocks(self, model: str, solver: str) -> list[tuple[str, int, int]]:
        """(method, K, seed blocks) of the cells of a model and solver, in the registry's order.

        The most seed blocks that a table asks for; one that says nothing asks for all of the model's.
        """
        every, found = self.sampling(model)["seed_blocks"], dict[Cell, int]()
        for table, entry in self.tables.items():
            if (entry["model"], entry["solver"]) == (model, solver):
                for cell in product(self.methods_of(table), entry["budgets"]):
                    found[cell] = max(found.get(cell, 0), entry.get("seed_blocks") or every)
        order = list(METHODS)
        ordered = sorted(found, key=lambda cell: (order.index(cell[0]), cell[1]))
        return [(*cell, found[cell]) for cell in ordered]

    def gpus(self, model: str) -> int:
        """GPUs a job of the model occupies."""
        return int(self.models[model].get("sampling", {}).get("device") == "cuda")

    # What there is to draw.

    def has_profile(self, model: str) -> bool:
        """Whether a method of the model's tables is made from |Q|."""
        names = self.methods(model)
        return bool(names & {*made_from(PROFILE), "gauss_newton"})

    def has_learned(self, model: str) -> bool:
        """Whether ART-RL stands against hand-made schedules in the model's tables."""
        groups = {method(name).group for name in self.methods(model)}
        return {LEARNED, HAND_MADE} <= groups

    def figure_budgets(self, model: str) -> list[int]:
        """Budgets of the error figures of networks: those every learned method was asked for, or all."""
        cells = self.cells(model)
        learned = {K for name, K in cells if method(name).group == LEARNED}
        return sorted(learned or {K for _, K in cells})

    def exported(self, model: str) -> list[tuple[str, str, int]]:
        """The schedules of a network that are worth taking elsewhere: closed forms and learned ones."""
        groups = (CLOSED_FORM, LEARNED)
        return [each for each in self.schedules(model) if method(each[0]).group in groups]

    def beside_paper(self, table: str) -> bool:
        """Whether a table is set beside the paper's number by number: the same network and data."""
        entry = self.tables[table]
        return "paper" in entry and self.kind(entry["model"]).features == "check"


def ids(group: str) -> list[str]:
    """Ids of the methods of a group (HAND_MADE, CLOSED_FORM, LEARNED, TRANSFER)."""
    return [m.id for m in METHODS.values() if m.group == group]


def pattern(names: Iterable[str]) -> str:
    """Names as a wildcard constraint; one that matches nothing of ours if there are none."""
    return "|".join(names) or "none"
