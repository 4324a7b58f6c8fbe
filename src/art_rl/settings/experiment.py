"""The whole configuration: its blocks, the rules between them, and what they ask for.

`check_configuration` is what the workflow calls; `Configuration` is the file's model.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files as package_files
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from art_rl.errors import ArtRLError
from art_rl.registry import DECOUPLED, KINDS, LEARNED, METHODS, METRICS, SOLVERS, TRANSFER, method
from art_rl.settings.base import (
    UNIQUE,
    Closed,
    Count,
    Name,
    OneOf,
    Seed,
    Steps,
    Whole,
    over,
    rule,
)
from art_rl.settings.learners import LEARNER_KINDS, Learner
from art_rl.settings.measuring import Control, Endpoint, Profile
from art_rl.settings.models import EDMModel, ExactModel, Model, SolverId
from art_rl.settings.references import check_references
from art_rl.settings.rivals import LD3Settings, RivalSettings

MethodId = Annotated[str, OneOf(METHODS)]
Methods = Annotated[tuple[MethodId, ...], UNIQUE, Field(min_length=1)]
Budgets = Annotated[tuple[Count, ...], UNIQUE, Field(min_length=1)]

# Assets of an edm model: key of the configuration -> group of the asset.
ASSET_KEYS = {"checkpoint": "edm", "reference": "fid_refs", "inception": "inception"}


@lru_cache
def _known(name: str) -> Any:
    """A JSON file of the package as data: its module may bring libraries a dry run does not need."""
    return json.loads(package_files("art_rl").joinpath(name).read_text("utf-8"))


def _folder(value: Any) -> Any:
    if isinstance(value, str) and (value.startswith("~") or set("{}") & set(value)):
        raise rule("must not begin with ~, which nothing replaces, and hold no braces")
    return value


Folder = Annotated[str, BeforeValidator(_folder), Field(min_length=1)]


class PathVars(Closed):
    """Folders of the products, relative to the working directory."""

    results: Folder | None = None
    """Schedules, cells, learning records, logs."""
    figures: Folder | None = None
    """Tables and figures, in a subfolder named after the configuration."""
    resources: Folder | None = None
    """Downloaded files; the same folder serves all configurations."""


class Asset(Closed):
    """A file beside those of the catalogue, e.g. a checkpoint of your own."""

    group: Literal["edm", "fid_refs", "inception"]
    """What the file is; its folder in a mirror and below resources/."""
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """File name."""
    urls: Annotated[tuple[str, ...], UNIQUE] = ()
    """Full addresses, tried after the mirror."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of the file; without one it is trusted on first use."""
    size: Count | None = None
    """Bytes of the file, for the plan."""


class Table(Closed):
    """One model and solver, the budgets K across and the methods down; each entry is a cell."""

    model: str
    """A key of models."""
    solver: SolverId
    """Solver of the probability-flow ODE."""
    budgets: Budgets
    """Numbers of steps K."""
    metrics: Annotated[tuple[Annotated[str, OneOf(METRICS)], ...], UNIQUE, Field(min_length=1)]
    """rmse: endpoint error.  w2: 1-D targets only.  fid: LeNet-FID (image), FID (edm), of each seed block.
    fid_all: of the images of all seed blocks together."""
    seed_blocks: Count | None = None
    """Seed blocks of this table's cells, the first ones of the model's; null: all."""
    methods: Methods | None = None
    """Rows of this table, instead of the common list."""
    paper: Annotated[str, OneOf(_known("report/paper_tables.json")["tables"])] | None = None
    """Table of src/art_rl/report/paper_tables.json shown below ours."""


class Transfer(Closed):
    """Where the rows transfer_budget and transfer_data come from."""

    method: Annotated[
        str, OneOf([m.id for m in METHODS.values() if m.group == LEARNED and m.id != DECOUPLED])
    ]
    """ART-RL method whose schedules are carried over (lists alone)."""
    budget: Steps | None = None
    """K of the schedule that transfer_budget resamples to every other K (Table 5)."""
    data: str | None = None
    """Model whose schedules transfer_data uses (Table 6), of this configuration unless folder is given."""
    folder: str | None = None
    """Folder of committed schedules, relative to the repository."""


class Figures(Closed):
    """What the figures show."""

    methods: Methods = ("uniform", "dpm", "edm", "gaussian")
    """Methods drawn in the error and schedule figures."""
    budgets: Budgets = (5, 10)
    """Budgets K of the schedule figure."""


class Evaluation(Closed):
    """Size of a cell of an exact model."""

    samples: Annotated[Whole, Field(ge=2)] = 20000
    """Samples per cell (a model may set its own)."""
    seed_blocks: Count = 3
    """Seed blocks, each with its own starting noise, common to all methods."""
    seed: Seed = 1000
    """Seed of the first block; block b uses seed + b."""
    reference_steps: Steps = 128
    """RK4 steps of the reference solution that RMSE is measured against."""

    @model_validator(mode="after")
    def _seeds_are_seeds(self) -> Self:
        if self.seed + self.seed_blocks > 2**63:
            raise ArtRLError(
                f"seed must be at most 2^63 - seed_blocks, so that every block has one, got {self.seed}"
            )
        return self


class Configuration(Closed):
    """A configuration file of the workflow."""

    name: Name
    """Name of the folder below paper_figures/ that receives tables and figures."""
    pathvars: PathVars | None = None
    """Folders of the products, relative to the working directory."""
    assets: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], Asset] = Field(
        default={}
    )
    """Files beside those of src/art_rl/assets/catalogue.json, e.g. checkpoints of your own."""
    mirror: str | None = None
    """Folder or base URL tried before the public addresses (also environment ART_RL_MIRROR)."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """Models by name."""
    methods: Methods
    """Methods of every table that does not list its own."""
    tables: Annotated[dict[Name, Table], Field(min_length=1)]
    """Tables by name; together they decide which cells are computed."""
    transfer: Transfer | None = None
    """Where the rows transfer_budget and transfer_data come from."""
    figures: Figures = Figures()
    """What the figures show."""
    evaluation: Evaluation = Evaluation()
    """Size of a cell."""
    profile: Profile = Profile()
    """Measurement of |Q| along trajectories."""
    endpoint: Endpoint = Endpoint()
    """Measurement of propagated local errors for the convex endpoint schedule."""
    control: Control = Control()
    """Trajectories every learner of a model shares; half of them are held out for evaluation."""
    rivals: RivalSettings = RivalSettings()
    """What the schedules of other methods measure."""
    ld3: LD3Settings = LD3Settings()
    """Learning of LD3-style schedules."""
    learners: dict[Name, Learner] = Field(default={})
    """ART-RL runs by name."""

    @model_validator(mode="after")
    def _rules_between_blocks(self) -> Self:
        self._check_names()
        for name, model in self.models.items():
            self._check_learners_of(name, model)
            if isinstance(model, EDMModel):
                self._check_assets_of(name, model)
        for name, table in self.tables.items():
            if table.model not in self.models:
                raise ArtRLError(
                    f"tables.{name}.model is {table.model!r}, which is not in models; "
                    f"known: {', '.join(self.models)}"
                )
            self._check_metrics(name, table)
            model, rows = self.models[table.model], table.methods or self.methods
            check_references(name, table.solver, max(table.budgets), rows, self, model)
            for row in table.methods or self.methods:
                if method(row).group == LEARNED:
                    self._check_learner(f"tables.{name} asks for {row!r}", row)
                elif method(row).group == TRANSFER:
                    self._check_transfer(name, row)
                elif row in ("gits", "oss"):
                    self._check_teacher(name, table, row)
        return self

    def _check_names(self) -> None:
        """Runs of an endpoint learner lie in <learner>_<solver>, beside those of the others."""
        for name, learner in self.learners.items():
            for solver in SOLVERS if learner.kind == "endpoint" else ():
                if f"{name}_{solver}" in self.learners:
                    raise ArtRLError(
                        f"learners.{name}_{solver} must have another name: runs of {name} with {solver} "
                        "lie in a folder of that name"
                    )

    def _check_teacher(self, name: str, table: Table, row: str) -> None:
        """Rows that search on a teacher's levels have no more steps than it."""
        key = {"gits": "teacher_levels", "oss": "oss_levels"}[row]
        own = getattr(self.models[table.model].rivals, key)
        levels, K = getattr(self.rivals, key) if own is None else own, max(table.budgets)
        if K + 1 > levels:
            raise ArtRLError(
                f"tables.{name} asks for {row!r} at K = {K}: rivals.{key} must be at least {K + 1}, "
                f"got {levels}; raise it or leave the row out"
            )

    def _check_learners_of(self, name: str, model: Any) -> None:
        """Values that one model has for its learners, alone and over the common ones."""
        for learner, own in (model.learners or {}).items():
            path = f"models.{name}.learners.{learner}"
            if learner not in self.learners:
                raise ArtRLError(
                    f"{path} must name one of the learners, "
                    f"got {learner!r}; known: {', '.join(self.learners) or 'none'}"
                )
            entry = self.learners[learner]
            for key in entry.settings.always:
                if key in own:
                    raise ArtRLError(
                        f"{path}.{key} must be left out, got {own[key]!r}: it is the same for every "
                        f"model, as rules and labels read learners.{learner}.settings.{key}"
                    )
            given = _override(entry.kind, own, path)
            type(entry.settings).from_dict({**entry.settings.plain(), **given}, path=path)

    def _check_metrics(self, name: str, table: Table) -> None:
        """w2 needs quantiles of the exact 1-D target, fid a network's feature space."""
        model = self.models[table.model]
        kind, given = KINDS[model.kind], list(table.metrics)
        own = getattr(model, "sampling", None)  # without it a model is sampled as evaluation says
        where, sampled = (
            (f"models.{table.model}.sampling", own) if own else ("evaluation", self.evaluation)
        )
        if "w2" in given and not (isinstance(model, ExactModel) and model.target.dim == 1):
            raise ArtRLError(
                f"tables.{name}.metrics must not have w2, got {given}: model {table.model} has no "
                f"exact 1-D target; use rmse{' or fid' if kind.features else ''}"
            )
        if {"fid", "fid_all"} & set(given) and not kind.features:
            raise ArtRLError(
                f"tables.{name}.metrics must not have fid, got {given}: model {table.model} is exact, "
                "not one of images; use rmse, or w2 in one dimension"
            )
        if "rmse" in given and kind.reference:
            steps = sampled.reference_steps
            if max(table.budgets) >= steps:
                raise ArtRLError(
                    f"tables.{name}.budgets must be below {where}.reference_steps ({steps}), got "
                    f"{max(table.budgets)}: RMSE would be measured against a solution no finer than what it "
                    "measures; raise reference_steps"
                )
        if not kind.reference and not set(given) <= {"fid", "fid_all"}:
            raise ArtRLError(
                f"tables.{name}.metrics must be fid or fid_all for the checkpoint {table.model}, got {given}"
            )
        if table.seed_blocks is not None and table.seed_blocks > sampled.seed_blocks:
            raise ArtRLError(
                f"tables.{name}.seed_blocks must be at most {where}.seed_blocks ({sampled.seed_blocks}), "
                f"got {table.seed_blocks}"
            )

    def _check_learner(self, asking: str, row: str) -> None:
        """The one learner of an ART-RL method that ``asking`` needs."""
        found = [learner.method for learner in self.learners.values()].count(row)
        if found != 1:
            raise ArtRLError(
                f"{asking}: exactly one learner must have method: {row}, found {found}"
            )

    def _check_transfer(self, table: str, row: str) -> None:
        """The source of a carried-over row: transfer.budget or transfer.data, and who learns it."""
        key = {"transfer_budget": "budget", "transfer_data": "data"}[row]
        given = {} if self.transfer is None else self.transfer.plain()
        if self.transfer is None or key not in given:
            raise ArtRLError(
                f"tables.{table} asks for {row!r}: transfer.{key} must be given, got "
                f"{', '.join(given) or 'nothing'} in transfer; add it or leave the row out"
            )
        if row == "transfer_data" and "folder" in given:
            return  # committed schedules: nothing is learned here
        if row == "transfer_data" and given["data"] not in self.models:
            raise ArtRLError(
                f"transfer.data is {given['data']!r}, which is not in models; "
                f"known: {', '.join(self.models)}, or give transfer.folder"
            )
        self._check_learner(f"tables.{table} asks for {row!r}", self.transfer.method)

    def _check_assets_of(self, name: str, model: EDMModel) -> None:
        """The files of a checkpoint are known and of the right kind."""
        groups = {
            key: asset["group"] for key, asset in _known("assets/catalogue.json")["assets"].items()
        }
        groups |= {key: asset.group for key, asset in self.assets.items()}
        for key, group in ASSET_KEYS.items():
            asset = getattr(model, key)
            if groups.get(asset) != group:
                names = ", ".join(known for known, its in groups.items() if its == group)
                raise ArtRLError(
                    f"models.{name}.{key} must be an asset of the group {group}, "
                    f"got {asset!r}; known: {names}"
                )

    def plain(self, written: str | None = None) -> dict[str, Any]:
        """The workflow's `config`: as `Closed.plain`, the models' values for their learners too."""
        found = super().plain(written)
        for name, model in found["models"].items():
            for learner, own in model.get("learners", {}).items():
                path = f"models.{name}.learners.{learner}"
                model["learners"][learner] = _override(self.learners[learner].kind, own, path)
        return found


_OVER = {kind: over(settings, settings.always) for kind, settings in LEARNER_KINDS.items()}


def _override(kind: str, own: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A model's checked values for a learner of ``kind``."""
    return _OVER[kind].from_dict(own, path=path).plain()


def check_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain values, checked, in one normal form (`Configuration.plain`).

    Blocks that rules read are complete; settings handed to the library hold what differs from their
    defaults, so that a default written out or left out gives the same products.

    Raises:
        ArtRLError: one line, beginning with "config: ", that names key, rule and value.
    """
    return Configuration.from_dict(settings, "config").plain()


def learner_run(config: Mapping[str, Any], model: str, learner: str) -> Closed:
    """Settings of a learner on a model: the model's own values over the common ones.

    Args:
        config: from `check_configuration`.
    """
    entry = config["learners"][learner]
    own = config["models"][model].get("learners", {}).get(learner, {})
    return LEARNER_KINDS[entry["kind"]].from_dict({**entry["settings"], **own})
