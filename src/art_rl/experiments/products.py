"""Where everything of a run lies: paths of products, and the input functions of the rules.

Paths hold Snakemake's pathvars (<results>, <figures>, <resources>, <logs>).  A method that takes
``wildcards`` is an input or params function as it stands; the rest answers while rules are defined.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from art_rl.experiments.targets import LearningJob, Targets
from art_rl.registry import RIVAL, method

# Images kept per cell for the sample grids.
PREVIEW = 16

NETWORK_KINDS = ("image", "edm")
TABLE_SUFFIXES = ("csv", "md", "tex")
FIGURE_SUFFIXES = ("pdf", "png")


def schedule_path(model: str, name: str, solver: str, K: int | str) -> str:
    """Where the schedule of a cell lies; ``solver`` may be "any"."""
    used = solver if solver == "any" else method(name).schedule_solver(solver)
    return f"<results>/{model}/schedules/{name}/{used}/K{K}.json"


def run_files(model: str, run: str, seed: int, *names: str) -> list[str]:
    """Files of one learner's run."""
    return [f"<results>/{model}/learning/{run}/seed{seed}/{name}" for name in names]


class Products:
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
        self._networks = [*self.targets.of_kind(*NETWORK_KINDS)]

    def from_cwd(self, path: str | os.PathLike) -> str:
        """``path`` of the repository relative to the working directory, so that a moved checkout keeps
        its results."""
        return os.path.relpath(self.root / path, os.getcwd())

    def sources(self, *names: str) -> list[str]:
        """Modules of the library by name, e.g. "flow/solvers metrics/frechet"; a folder: all in it."""
        paths: list[Path] = []
        for name in " ".join(names).split():
            path = self.root / "src/art_rl" / name
            paths += sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        return [self.from_cwd(path) for path in paths]

    # Settings of a job, for params.

    def block(self, name: str) -> Callable[[Any], dict[str, Any]]:
        """Params function: a block of settings, the model's own values over the common ones."""
        return lambda wildcards: self.targets.block(wildcards.model, name)

    def run_settings(self, learner: str) -> Callable[[Any], dict[str, Any]]:
        """Params function: settings of a learner's run."""
        return lambda wildcards: self.targets.run_settings(wildcards.model, learner)

    def learner_settings(self, wildcards: Any) -> dict[str, Any]:
        """The learner behind a schedule."""
        learner = self.targets.learner_of(wildcards.method)
        settings = self.targets.run_settings(wildcards.model, learner)
        return {**self.settings["learners"][learner], "settings": settings}

    def table_rows(self, wildcards: Any) -> list[str]:
        """Methods of a table."""
        return self.targets.methods_of(wildcards.table)

    def model_metrics(self, wildcards: Any) -> list[str]:
        """Metrics of a model's tables."""
        return self.targets.metrics(wildcards.model)

    def figure_budgets(self, wildcards: Any) -> list[int]:
        """Budgets of a model's error figures."""
        return self.targets.figure_budgets(wildcards.model)

    def run_labels(self, wildcards: Any) -> list[tuple[str, int]]:
        """(label, seed) of every fine clock of a model."""
        label, runs = self.targets.learner_label, self.targets.fine_runs(wildcards.model)
        return [(label(name), seed) for name, seed in runs]

    def memory(self, wildcards: Any) -> int:
        """MB of a Slurm job that calls a model: a network brings torch's CUDA side and its weights."""
        return 3000 if self._model(wildcards)["kind"] == "exact" else 12000

    def gpus(self, wildcards: Any) -> int:
        """GPUs a job of a network occupies."""
        return int(self._model(wildcards).get("sampling", {}).get("device") == "cuda")

    def checkpoint_threads(self, wildcards: Any) -> int:
        """Threads beside a GPU, for moments and FID; on CPUs shards are what runs in parallel."""
        return 4 if self.gpus(wildcards) else 1

    def needs_gpu(self) -> bool:
        """Whether any network of the configuration runs on a GPU."""
        return any(
            m.get("sampling", {}).get("device") == "cuda" for m in self.targets.models.values()
        )

    def _model(self, wildcards: Any) -> Mapping[str, Any]:
        return self.targets.models[wildcards.model]

    # Files a model starts from.

    def assets(self, *groups: str) -> list[str]:
        """Names of the catalogue's and the configuration's own assets, of some groups."""
        return [n for n, asset in self._assets.items() if asset["group"] in groups]

    @cached_property
    def _assets(self) -> dict[str, Any]:
        text = (self.root / "src/art_rl/assets/catalogue.json").read_text()
        return {**json.loads(text)["assets"], **self.settings["assets"]}

    def asset_path(self, name: str) -> str:
        """Where an asset of the catalogue or of the configuration lies."""
        asset = self._assets[name]
        return f"<resources>/{asset['group']}/{asset['file']}"

    def model_asset(self, key: str) -> Callable[[Any], str]:
        """Input function: the file of one of a model's assets."""
        return lambda wildcards: self.asset_path(self._model(wildcards)[key])

    def file_asset(self, wildcards: Any) -> str:
        """Name of the asset that a file below resources/ is."""
        keys = ("checkpoint", "reference", "inception")
        names = (self.targets.models[m][key] for m in self.targets.of_kind("edm") for key in keys)
        files = {self.asset_path(name): name for name in dict.fromkeys(names)}
        return files[f"<resources>/{wildcards.group}/{wildcards.file}"]

    def own_asset(self, wildcards: Any) -> Mapping[str, Any] | None:
        """The asset's entry in the configuration; None if it is one of the catalogue."""
        return self.settings["assets"].get(self.file_asset(wildcards))

    def mnist_files(self) -> list[str]:
        """The files of MNIST."""
        return [self.asset_path(name) for name in self.assets("mnist")]

    def data_files(self, wildcards: Any) -> list[str]:
        """Files of an image model's data set; digits come with scikit-learn."""
        return [] if self._model(wildcards)["data"] == "digits" else self.mnist_files()

    def networks(self, wildcards: Any) -> list[str]:
        """`network` as a list."""
        return [] if self._model(wildcards)["kind"] == "exact" else [self.network(wildcards)]

    def network(self, wildcards: Any) -> str | list[str]:
        """Weights of a network; nothing for an exact model.  One path, no list of one: scripts read it."""
        if self._model(wildcards)["kind"] == "exact":
            return []
        return f"<results>/{wildcards.model}/network.safetensors"

    # Schedules.

    def schedule_patterns(self, names: Iterable[str], solver: str) -> list[str]:
        """Path patterns, with {model} open, of the schedules one multi-output job writes."""
        used = self.targets.methods()
        return [
            schedule_path("{model}", name, solver, K)
            for name in names
            if name in used and method(name).runs_with(solver)
            for K in self.targets.budgets(solver)
        ]

    def rival_patterns(self, names: Iterable[str], solver: str = "any") -> list[str]:
        """Path patterns, with {model} open, of rival schedules: where tables ask for them only, as many
        of their searches are bounded by the teacher's levels."""
        return [
            schedule_path("{model}", name, solver, K)
            for name in names
            for K in self.targets.budgets_of(name, solver)
        ]

    def model_schedules(self, wildcards: Any) -> list[str]:
        """Every schedule of a model's cells."""
        model = wildcards.model
        return [schedule_path(model, *each) for each in self.targets.schedules(model)]

    def cell_schedules(self, wildcards: Any) -> list[str]:
        """Schedules evaluated in one cells file."""
        model, solver = wildcards.model, wildcards.solver
        return [schedule_path(model, n, solver, K) for n, K in self.targets.cells(model, solver)]

    def every_schedule(self) -> list[str]:
        """All schedules the tables ask for: the target of `snakemake schedules`."""
        models = self.targets.models
        return [schedule_path(m, *each) for m in models for each in self.targets.schedules(m)]

    def drawn_schedules(self, wildcards: Any) -> list[str]:
        """Schedules of a model's schedule figure."""
        model, solver = wildcards.model, self.first_solver(wildcards)
        return [schedule_path(model, n, solver, K) for n, K in self.targets.drawn_cells(model)]

    def first_solver(self, wildcards: Any) -> str:
        """The solver whose schedules a model's schedule figure shows."""
        return self.targets.solvers(wildcards.model)[0]

    def carried(self, name: str) -> list[str]:
        """Path patterns, with {model} and {solver} open, of the schedules carried over as ``name``."""
        budgets = self.targets.carried_budgets(name)
        return [f"<results>/{{model}}/schedules/{name}/{{solver}}/K{K}.json" for K in budgets]

    def budget_source(self, wildcards: Any) -> str:
        """The schedule that transfer_budget resamples."""
        entry = self.targets.transfer
        return schedule_path(wildcards.model, entry["method"], wildcards.solver, entry["budget"])

    def data_source(self, wildcards: Any) -> list[str]:
        """Schedules of another model, of this run or committed, one per path of transfer_data."""
        entry, solver = self.targets.transfer, wildcards.solver
        name, budgets = entry["method"], self.targets.carried_budgets("transfer_data")
        if "folder" not in entry:
            return [schedule_path(entry["data"], name, solver, K) for K in budgets]
        stem = f"{entry['folder']}/{entry['data']}_{name}_{solver}"
        return [self.from_cwd(f"{stem}_K{K}.json") for K in budgets]

    def exported_sources(self, wildcards: Any) -> list[str]:
        """Schedules of all networks that are copied beside the figures."""
        exported = self.targets.exported
        return [schedule_path(m, *each) for m in self._networks for each in exported(m)]

    def exported_files(self) -> list[str]:
        """Where they are copied to."""
        return [
            f"{self.folder}/schedules/{model}_{name}_{solver}_K{K}.json"
            for model in self._networks
            for name, solver, K in self.targets.exported(model)
        ]

    # Learning.

    def written_by(self, job: LearningJob) -> list[str]:
        """Path patterns, with {model} open, of the schedules a learner's job writes."""
        if job.writes is None:
            return []
        return [schedule_path("{model}", job.writes, job.solver, K) for K in job.budgets]

    def learned_from(self, job: LearningJob) -> Callable[[Any], list[str]]:
        """Input function: what a learner starts from.  Only the measured endpoint error needs the network
        itself (and the closed forms' profile, whose densities are among its starts)."""

        def files(wildcards: Any) -> list[str]:
            folder = f"<results>/{wildcards.model}"
            if job.kind == "endpoint":
                return [f"{folder}/profile.npz", *self.networks(wildcards)]
            return [f"{folder}/control_table.safetensors"]

        return files

    def clock_files(self, name: str) -> Callable[[Any], list[str]]:
        """Input function: one file of every fine clock of a model."""

        def files(wildcards: Any) -> list[str]:
            model = wildcards.model
            return [
                p for run in self.targets.fine_runs(model) for p in run_files(model, *run, name)
            ]

        return files

    def first_clocks(self, wildcards: Any) -> list[str]:
        """theta(t) of the first seed of every fine learner."""
        targets = self.targets
        runs = [(name, targets.first_seed(name)) for name in targets.fine_learners()]
        return [path for run in runs for path in run_files(wildcards.model, *run, "theta.csv")]

    def endpoint_metrics(self, wildcards: Any) -> list[str]:
        """Learning curves of the runs on the endpoint error of a model, one per solver."""
        targets, model, name = self.targets, wildcards.model, "art_rl_endpoint"
        paths: list[str] = []
        for solver in targets.solvers(model):
            if any(row == name for row, _ in targets.cells(model, solver)):
                run = targets.learner_of(name)
                seed = targets.first_seed(run)
                paths += run_files(model, f"{run}_{solver}", seed, "metrics.jsonl")
        return paths

    def endpoint_files(self, name: str) -> Callable[[Any], list[str]]:
        """Input function: one file of every run on the endpoint error of a model, one per solver."""
        metrics = self.endpoint_metrics
        return lambda wildcards: [
            path.replace("metrics.jsonl", name) for path in metrics(wildcards)
        ]

    def all_reports(self, name: str = "result.json") -> list[str]:
        """Reports of every run of every learner, or what lies beside them."""
        runs = self.targets.all_runs()
        return [path for model, _, run, seed in runs for path in run_files(model, run, seed, name)]

    # Cells.

    def shards(self, pattern: str, blocks: int | None = None) -> Callable[[Any], list[str]]:
        """Input function: one file per shard of the model's first ``blocks`` seed blocks (all), in seed
        order."""

        def files(wildcards: Any) -> list[str]:
            sampling = self._model(wildcards)["sampling"]
            shards = -(-sampling["samples"] // sampling["shard"])
            return [
                pattern.format(**dict(wildcards.items()), block=block, shard=shard)
                for block in range(blocks or sampling["seed_blocks"])
                for shard in range(shards)
            ]

        return files

    def cells(self, suffix: str = ".csv") -> Callable[[Any], list[str]]:
        """Input function: cells files of all solvers of a model, or what lies beside them."""

        def files(wildcards: Any) -> list[str]:
            solvers = self.targets.solvers(wildcards.model)
            return [f"<results>/{wildcards.model}/cells/{solver}{suffix}" for solver in solvers]

        return files

    def table_cells(self, suffix: str = ".csv") -> Callable[[Any], str]:
        """Input function: the cells file a table is made of, or what lies beside it."""

        def file(wildcards: Any) -> str:
            table = self.targets.tables[wildcards.table]
            return f"<results>/{table['model']}/cells/{table['solver']}{suffix}"

        return file

    def every_provenance(self) -> list[str]:
        """Provenance of every cells file."""
        targets = self.targets
        cells = [(model, solver) for model in targets.used() for solver in targets.solvers(model)]
        return [f"<results>/{model}/cells/{solver}.provenance.json" for model, solver in cells]

    # What a reader gets.

    def tables(self, suffixes: Sequence[str] = TABLE_SUFFIXES) -> list[str]:
        """Every rendered table."""
        return [
            f"{self.folder}/{table}_{metric}.{suffix}"
            for table, entry in self.targets.tables.items()
            for metric in entry["metrics"]
            for suffix in suffixes
        ]

    def comparisons(self) -> list[str]:
        """Tables of wins, of the trust ablation and beside the paper's."""
        targets, folder = self.targets, self.folder
        paths = []
        for model in targets.of_kind("image"):
            stems = ["wins"] + ["trust"] * bool(targets.models[model].get("trust_ablation"))
            paths += [f"{folder}/{model}_{stem}.{x}" for stem in stems for x in ("csv", "md")]
        names = targets.paper_tables()
        return paths + [f"{folder}/{n}_beside_paper.{x}" for n in names for x in TABLE_SUFFIXES]

    def figure_kinds(self, model: str) -> list[str]:
        """Figures of a model."""
        targets = self.targets
        learning = ["learning", "theta"] * bool(targets.fine_runs(model))
        samples = [f"samples_{solver}" for solver in targets.solvers(model)]
        kind = targets.models[model]["kind"]
        if kind == "exact":
            return ["error", "schedules", "profile", *learning]
        if kind == "image":
            return ["fid_nfe", "rmse_nfe", "schedules", "profile", *learning, "loss", *samples]
        profile = ["profile"] * targets.has_profile(model)
        return ["fid_nfe", "schedules", *profile, *learning, *samples]

    def figures_of(self, model: str, suffixes: Sequence[str] = FIGURE_SUFFIXES) -> list[str]:
        """Files of a model's figures."""
        kinds = self.figure_kinds(model)
        return [f"{self.folder}/{model}_{kind}.{suffix}" for kind in kinds for suffix in suffixes]

    def figures(self) -> list[str]:
        """Every figure, the table of objectives, and the provenance of all numbers."""
        targets = self.targets
        exact = [model for model in targets.used() if targets.models[model]["kind"] == "exact"]
        paths = [path for model in [*exact, *self._networks] for path in self.figures_of(model)]
        if targets.all_runs():
            paths += [f"{self.folder}/objectives.{suffix}" for suffix in TABLE_SUFFIXES]
        return [*paths, f"{self.folder}/provenance.json"]

    def rival_reports(self) -> list[str]:
        """ART-RL beside its rivals, for every model whose tables have both."""
        targets = self.targets
        found = []
        for model in targets.used():
            groups = {method(name).group for name in targets.methods(model)}
            if "art_rl_endpoint" in targets.methods(model) and RIVAL in groups:
                stem = f"{self.folder}/{model}"
                found += [f"{stem}_rivals.md", f"{stem}_prices.png", f"{stem}_frontier.png"]
        return found

    def notebooks(self) -> list[str]:
        """Executed notebooks; the .ipynb of a pair is made from its percent script."""
        targets = self.targets
        sources = [path.stem for path in sorted((self.root / "notebooks").glob("*.py"))]
        for kind in NETWORK_KINDS:
            if not targets.of_kind(kind):
                sources = [name for name in sources if kind not in name]
        if len(targets.of_kind("edm")) == len(targets.models):  # the others read tables of RMSE
            sources = [name for name in sources if "edm" in name]
        return [f"<results>/notebooks/{name}.ipynb" for name in sources]

    def everything(self) -> list[str]:
        """The target of a run."""
        return [
            *self.tables(),
            *self.figures(),
            *self.rival_reports(),
            *self.notebooks(),
            *self.exported_files(),
            *self.comparisons(),
        ]
