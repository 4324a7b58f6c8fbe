"""Where everything of a run lies: paths of products, and the input functions of the rules.

Paths hold Snakemake's pathvars (<results>, <figures>, <resources>, <logs>).  A method that takes
``wildcards`` is an input or params function as it stands; the rest answers while rules are defined.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from art_rl.experiments.reports import Reports, schedule_path
from art_rl.experiments.targets import LearningJob, Targets
from art_rl.registry import DECOUPLED, method

# Images kept per cell for the sample grids.
PREVIEW = 16

# What samples depend on: of every network, and by how it comes to be.
NUMERICS = {
    "": [
        "flow/solvers flow/seeds sampling/shards sampling/cells sampling/measures denoisers/base",
        "metrics/features metrics/frechet",
    ],
    "train": ["schedules/schedule denoisers/unet metrics/lenet"],
    "convert": ["metrics/fidelity_compat denoisers/edm"],
}


def run_files(model: str, run: str, seed: int, *names: str) -> list[str]:
    """Files of one learner's run."""
    return [f"<results>/{model}/learning/{run}/seed{seed}/{name}" for name in names]


def job_files(job: LearningJob, name: str) -> list[str]:
    """Path patterns, with {model} open, of one file of every seed of a learner's job."""
    return [path for seed in job.seeds for path in run_files("{model}", job.run, seed, name)]


# Settings of a model that rules get apart from what the model is.
APART = "samples profile endpoint control learners rivals ld3 left_sum trust_ablation".split()


class Products(Reports):
    """Paths of the products of one configuration.

    Args:
        settings: checked configuration.
        root: folder of the repository.
    """

    def __init__(self, settings: Mapping[str, Any], root: str | os.PathLike) -> None:
        self.root = Path(root)
        self.settings = settings
        self.targets = Targets(settings)
        self.folder = f"<figures>/{settings['name']}"

    def from_cwd(self, path: str | os.PathLike) -> str:
        """``path`` of the repository relative to the working directory.

        Relative, so that a moved checkout keeps its results.
        """
        return os.path.relpath(self.root / path, os.getcwd())

    def sources(self, *names: str) -> list[str]:
        """Modules of the library by name, e.g. "flow/solvers metrics/frechet"; a folder: all in it."""
        paths: list[Path] = []
        for name in " ".join(names).split():
            path = self.root / "src/art_rl" / name
            paths += sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        return [self.from_cwd(path) for path in paths]

    def numerics(self, wildcards: Any) -> list[str]:
        """Modules that decide what a model's samples and their features are: cells of others are not used."""
        how = self.targets.kind(wildcards.model).network
        return self.sources(*NUMERICS[""], *NUMERICS[how]) if how else []

    # Settings of a job, for params and resources.

    def block(self, name: str) -> Callable[[Any], dict[str, Any]]:
        """Params function: a block of settings, the model's own values over the common ones."""
        return lambda wildcards: self.targets.block(wildcards.model, name)

    def model(self, wildcards: Any) -> dict[str, Any]:
        """What a model is: more images or another learner do not train its network anew (`APART`)."""
        settings = self.targets.models[wildcards.model]
        own = {key: value for key, value in settings.items() if key not in APART}
        if "sampling" in own:
            own["sampling"] = {"device": own["sampling"]["device"]}
        return own

    def sampling(self, wildcards: Any) -> dict[str, Any]:
        """How a model's cells are sampled."""
        return self.targets.sampling(wildcards.model)

    def shards(self, wildcards: Any) -> list[tuple[int, int]]:
        """(block, shard) of the seeds of a job."""
        return self.targets.shards_of(wildcards.model, wildcards.part)

    def cells(self, wildcards: Any) -> list[tuple[str, str, int, int]]:
        """(solver, method, K, seed blocks) that a job samples, of those with a seed block in its part."""
        first = min(block for block, _ in self.shards(wildcards))
        cells = self.targets.cells_of(wildcards.model, wildcards.group)
        return [cell for cell in cells if cell[-1] > first]

    def run_settings(self, learner: str) -> Callable[[Any], dict[str, Any]]:
        """Params function: settings of a learner's run."""
        return lambda wildcards: self.targets.run_settings(wildcards.model, learner)

    def memory(self, wildcards: Any) -> int:
        """MB of a Slurm job that calls a model: a network brings torch's CUDA side and its weights."""
        return 12000 if self.targets.kind(wildcards.model).network else 3000

    def gpus(self, wildcards: Any) -> int:
        """GPUs a job of a network occupies."""
        return self.targets.gpus(wildcards.model)

    def threads(self, wildcards: Any) -> int:
        """Threads beside a GPU, for moments and FID; on CPUs shards are what runs in parallel."""
        return 4 if self.gpus(wildcards) else 1

    def needs_gpu(self) -> bool:
        """Whether any network of the configuration runs on a GPU."""
        return any(self.targets.gpus(model) for model in self.targets.models)

    # Files a model starts from.

    @cached_property
    def _assets(self) -> dict[str, Any]:
        text = (self.root / "src/art_rl/assets/catalogue.json").read_text(encoding="utf-8")
        return {**json.loads(text)["assets"], **self.settings["assets"]}

    def asset_path(self, name: str) -> str:
        """Where an asset of the catalogue or of the configuration lies."""
        asset = self._assets[name]
        return f"<resources>/{asset['group']}/{asset['file']}"

    def model_asset(self, key: str) -> Callable[[Any], str]:
        """Input function: the file of one of a model's assets."""
        return lambda wildcards: self.asset_path(self.targets.models[wildcards.model][key])

    def _data_assets(self, model: str) -> list[str]:
        data = self.targets.models[model].get("data")
        return [name for name, asset in self._assets.items() if data and asset["group"] == data]

    def file_asset(self, wildcards: Any) -> str:
        """Name of the asset that a file below resources/ is: of those the models name first."""
        targets = self.targets
        named = [targets.models[m][key] for m in targets.models for key in targets.kind(m).assets]
        named += [name for model in targets.models for name in self._data_assets(model)]
        files = {self.asset_path(name): name for name in dict.fromkeys(named)}
        return files[f"<resources>/{wildcards.group}/{wildcards.file}"]

    def own_asset(self, wildcards: Any) -> Mapping[str, Any] | None:
        """The asset's entry in the configuration; None if it is one of the catalogue."""
        return self.settings["assets"].get(self.file_asset(wildcards))

    def data(self, wildcards: Any) -> list[str]:
        """Files of a model's data set; digits come with scikit-learn."""
        return [self.asset_path(name) for name in self._data_assets(wildcards.model)]

    def shipped_network(self, wildcards: Any) -> list[str]:
        """Weights and record of a network that ships with the repository; nothing if it is trained here."""
        path = self.targets.models[wildcards.model].get("trained")
        if not path:
            return []
        return [self.from_cwd(file) for file in (path, Path(path).with_suffix(".json"))]

    def network(self, wildcards: Any) -> str | list[str]:
        """Weights of a network; nothing for a model that has none."""
        has = self.targets.kind(wildcards.model).network
        return f"<results>/{wildcards.model}/network.safetensors" if has else []

    def network_facts(self, wildcards: Any) -> list[str]:
        """What is known of a network: class or size, training or origin, digest."""
        has = self.targets.kind(wildcards.model).network
        return [f"<results>/{wildcards.model}/network.json"] if has else []

    def features(self, wildcards: Any) -> list[str]:
        """Weights of the feature network of a model's FID."""
        return self._for_fid(wildcards.model, "inception", "lenet.safetensors")

    def target(self, wildcards: Any) -> list[str]:
        """Target statistics of a model's FID."""
        return self._for_fid(wildcards.model, "reference", "moments_train.npz")

    def _for_fid(self, model: str, asset: str, own: str) -> list[str]:
        """The asset of an official checkpoint, or what is made here; nothing for a model without FID."""
        how = self.targets.kind(model).features
        if how == "check":
            return [self.asset_path(self.targets.models[model][asset])]
        return [f"<results>/{model}/{own}"] if how else []

    def target_facts(self, wildcards: Any) -> list[str]:
        """What is known of the feature space: its digest, the floor of FID.

        Made before anything is sampled, so that a bad target stops a run early.
        """
        how = self.targets.kind(wildcards.model).features
        name = {"check": "reference", "train": "floor"}.get(how)
        return [f"<results>/{wildcards.model}/{name}.json"] if name else []

    # Schedules.

    def schedule_patterns(self, names: Iterable[str], solver: str | None = None) -> list[str]:
        """Path patterns, with {model} open, of the schedules one multi-output job writes for ``solver``.

        None: for every solver that a method has schedules of its own for.
        """
        every = [solver] if solver else ["any", *self.targets.solvers()]
        return [
            schedule_path("{model}", name, used, K)
            for name in names
            if name in self.targets.methods()
            for used in every
            if used == method(name).schedule_solver(used) and method(name).runs_with(used)
            for K in self.targets.budgets(used)
        ]

    def rival_patterns(self, names: Iterable[str], solver: str = "any") -> list[str]:
        """Path patterns, with {model} open, of rival schedules, where tables ask for them.

        Only there, as many of their searches are bounded by the teacher's levels.
        """
        return [
            schedule_path("{model}", name, solver, K)
            for name in names
            for K in self.targets.budgets_of(name, solver)
        ]

    def sampled_schedules(self, wildcards: Any) -> list[str]:
        """Schedules that a job samples with."""
        model, group = wildcards.model, wildcards.group
        cells = self.targets.cells_of(model, group)
        paths = [schedule_path(model, name, solver, K) for solver, name, K, _ in cells]
        return list(dict.fromkeys(paths))

    def schedules_of(self, model: str) -> list[str]:
        """Every schedule of a model's cells."""
        return [schedule_path(model, *each) for each in self.targets.schedules(model)]

    def every_schedule(self) -> list[str]:
        """All schedules the tables ask for: the target of `snakemake schedules`."""
        return [path for model in self.targets.used() for path in self.schedules_of(model)]

    def carried(self, name: str) -> list[str]:
        """Path patterns, with {model} and {solver} open, of the schedules carried over as ``name``."""
        budgets = self.targets.budgets_of(name)
        return [f"<results>/{{model}}/schedules/{name}/{{solver}}/K{K}.json" for K in budgets]

    def budget_source(self, wildcards: Any) -> str:
        """The schedule that transfer_budget resamples."""
        entry = self.targets.transfer
        return schedule_path(wildcards.model, entry["method"], wildcards.solver, entry["budget"])

    def data_source(self, wildcards: Any) -> list[str]:
        """Schedules of another model, of this run or committed, one per path of transfer_data."""
        entry, solver = self.targets.transfer, wildcards.solver
        name, budgets = entry["method"], self.targets.budgets_of("transfer_data")
        if "folder" not in entry:
            return [schedule_path(entry["data"], name, solver, K) for K in budgets]
        stem = f"{entry['folder']}/{entry['data']}_{name}_{solver}"
        return [self.from_cwd(f"{stem}_K{K}.json") for K in budgets]

    def fitted(self, name: str, wanted: Mapping[str, Iterable[int]]) -> list[str]:
        """Path patterns, with {model} open, of the schedules of ``name`` for solver -> budgets."""
        pairs = [(solver, K) for solver in wanted for K in wanted[solver]]
        return [schedule_path("{model}", name, solver, K) for solver, K in pairs]

    # Learning.

    def written_by(self, job: LearningJob) -> list[str]:
        """Path patterns, with {model} open, of the schedules a learner's job writes."""
        if job.writes is None:
            return []
        return [schedule_path("{model}", job.writes, job.solver, K) for K in job.budgets]

    def learned_from(self, job: LearningJob) -> Callable[[Any], list[str]]:
        """Input function: what a learner starts from.

        Only the measured endpoint error needs the network itself (and the closed forms' profile, whose
        densities are among its starts).
        """

        def files(wildcards: Any) -> list[str]:
            folder = f"<results>/{wildcards.model}"
            if job.kind == "endpoint":
                has = self.targets.kind(wildcards.model).network
                return [f"{folder}/profile.npz", *[f"{folder}/network.safetensors"] * bool(has)]
            return [f"{folder}/control_table.safetensors"]

        return files

    def clock_files(self, model: str, name: str) -> list[str]:
        """One file of every fine clock of a model."""
        return [p for run in self.targets.fine_runs(model) for p in run_files(model, *run, name)]

    def endpoint_metrics(self, model: str, name: str = "art_rl_endpoint") -> list[str]:
        """Learning curves of the runs on the endpoint error of a model, one per solver."""
        targets, paths = self.targets, []
        for solver in targets.solvers(model):
            if any(row == name for row, _ in targets.cells(model, solver)):
                run = targets.learner_of(name)
                seed = targets.first_seed(run)
                paths += run_files(model, f"{run}_{solver}", seed, "metrics.jsonl")
        return paths

    def table_costs(self) -> list[str]:
        """What the tables of trajectories took, of the counted models that learn from them."""
        kinds = ("clock", "steps", "paper")
        models = [m for m in self.counted_models() if self.targets.runs(m, kinds)]
        return [f"<results>/{model}/control_table.csv" for model in models]

    def counted(self, kind: str) -> list[str]:
        """Files of the counted models: "cells", "provenance", "profile" or "endpoint" (its reports)."""
        found: list[str] = []
        for model in self.counted_models():
            paths = [*self.endpoint_metrics(model), *self.endpoint_metrics(model, DECOUPLED)]
            if kind == "profile":
                has = self.targets.has_profile(model) or paths
                found += [f"<results>/{model}/profile.npz"] * bool(has)
            elif kind == "endpoint":
                found += [path.replace("metrics.jsonl", "result.json") for path in paths]
            else:
                found += self.cell_files(model, ".csv" if kind == "cells" else ".provenance.json")
        return found

    def all_reports(self, name: str = "result.json") -> list[str]:
        """Reports of every run of every learner, or what lies beside them."""
        runs = self.targets.all_runs()
        return [path for model, _, run, seed in runs for path in run_files(model, run, seed, name)]

    # Cells.

    def reference(self, wildcards: Any) -> list[str]:
        """Reference endpoints of the seeds of a job."""
        if not self.targets.kind(wildcards.model).reference:
            return []
        return [f"<results>/{wildcards.model}/reference/{wildcards.part}.npz"]

    def first_block(self, wildcards: Any) -> list[str]:
        """Reference endpoints of a model's first seed block."""
        return self.references(wildcards.model, blocks=1)

    def references(self, model: str, suffix: str = ".npz", blocks: int | None = None) -> list[str]:
        """Reference endpoints of a model's first ``blocks`` seed blocks (all), in the order of seeds."""
        if not self.targets.kind(model).reference:
            return []
        parts = self.targets.parts(model, blocks)
        return [f"<results>/{model}/reference/{part}{suffix}" for part in parts]

    def sampled(self, model: str) -> list[str]:
        """Shards of all cells of a model."""
        targets = self.targets
        return [
            f"<results>/{model}/shards/{group}/{part}.json"
            for group in targets.groups(model)
            for part in targets.parts(model)
        ]

    def cell_files(self, model: str, suffix: str = ".csv") -> list[str]:
        """Cells files of all solvers of a model, or what lies beside them."""
        return [f"<results>/{model}/cells/{s}{suffix}" for s in self.targets.solvers(model)]

    def every_provenance(self) -> list[str]:
        """Provenance of every cells file."""
        used = self.targets.used()
        return [path for m in used for path in self.cell_files(m, ".provenance.json")]

    def losses(self, model: str) -> list[str]:
        """Training curves of a network trained here."""
        trained = self.targets.kind(model).network == "train"
        return [f"<results>/{model}/network_losses.json"] * trained

    def model_cells(self, wildcards: Any) -> list[str]:
        """`cell_files` of a model."""
        return self.cell_files(wildcards.model)

    def model_metrics(self, wildcards: Any) -> list[str]:
        """Metrics of a model's tables, for params."""
        return self.targets.metrics(wildcards.model)

    def previews(self, model: str) -> list[str]:
        """Preview images of a model, one file per solver; none of points."""
        return self.cell_files(model, "_previews.npz") if self.targets.kind(model).features else []
