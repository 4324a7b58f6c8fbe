# The checked configuration, paths, and the functions rules use as input; the other common_*.smk go on.

import ast
import json
import os
import sys
from pathlib import Path

import yaml

ROOT = Path(workflow.basedir).parent
SOURCE = ROOT / "src"
sys.path.insert(0, str(SOURCE))

from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.experiments.machine import check_machine
from art_rl.registry import CLOSED_FORM, HAND_MADE, LEARNED, METHODS, SOLVERS, method
from art_rl.experiments.plan import make_plan
from art_rl.settings.experiment import check_experiment_settings, methods_of_table, wanted_cells

# Idle OpenMP threads that spin slow every neighbour down; jobs get their thread number from the rule.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Keep freed arrays instead of asking the kernel for zeroed pages again: halves small-tensor work.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))
# Progress bars go to log files: a line now and then, not one per iteration.
os.environ.setdefault("TQDM_MININTERVAL", "10")


def checked_config():
    """The configuration with defaults, or one line on what is wrong with it and exit status 1."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    try:
        return check_experiment_settings(dict(config), schema)
    except ArtRLError as error:
        sys.exit(f"art_rl: {error}")


config.update(checked_config())

MODELS = config["models"]
TABLES = config["tables"]
LEARNERS = config["learners"]


TRANSFER = config.get("transfer", {})
LEARNED_METHODS = [m.id for m in METHODS.values() if m.group == LEARNED]
HAND_MADE_METHODS = [m.id for m in METHODS.values() if m.group == HAND_MADE]


wildcard_constraints:
    name=config["name"],
    model="|".join(MODELS),
    method="|".join(METHODS),
    solver="|".join(["any", *SOLVERS]),
    K=r"\d+",
    seed=r"\d+",
    learner="|".join(LEARNERS) or "none",
    block=r"\d+",
    shard=r"\d+",
    table="|".join(TABLES),
    metric="w2|rmse|fid",


# Where networks run: with --use-conda, a rule that calls one needs torch for the device.
NUMERICS = "../../envs/cpu.yaml"
if any(model.get("sampling", {}).get("device") == "cuda" for model in MODELS.values()):
    NUMERICS = "../../envs/gpu.yaml"


def from_cwd(path):
    """``path`` relative to the working directory, so that a moved checkout keeps its results."""
    return os.path.relpath(path, os.getcwd())


def _imports(path):
    """Modules of art_rl that the Python file imports, as paths below src/ (existing files only)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "art_rl":
                continue
            # Importing a.b.c runs a/__init__.py and a/b/__init__.py too.
            for depth in range(1, len(parts) + 1):
                stem = SOURCE.joinpath(*parts[:depth])
                found.update(
                    p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()
                )
    return found


def imported_modules(script):
    """Every module of art_rl that workflow/scripts/<script> imports, directly or through others."""
    todo, seen = [ROOT / "workflow/scripts" / script], set()
    while todo:
        for path in _imports(todo.pop()):
            if path not in seen:
                seen.add(path)
                todo.append(path)
    return sorted(from_cwd(path) for path in seen)


def modules(script):
    """Input function: the modules of art_rl that a rule's numbers depend on.

    As inputs of the rule they rerun it when one of them changes; Snakemake watches the script only.
    Exact models depend on no network, although one loader serves all kinds of models.
    """
    paths = imported_modules(script)
    networks = ("denoisers/unet", "denoisers/edm/", "art_rl/denoisers/snapshots/")

    def code(wildcards):
        model = MODELS.get(wildcards.get("model"), {})
        if model.get("kind") != "exact":
            return paths
        return [path for path in paths if not any(part in path for part in networks)]

    return code


# Cells: which (model, method, solver, K) the tables ask for.


def table_methods(table):
    """Methods (ids) of a table that have a schedule for its solver, in the order of the registry."""
    return methods_of_table(config, table)


def cells(model, solver):
    """(method, K) pairs of every table on ``model`` with ``solver``, in a fixed order."""
    return wanted_cells(config, model, solver)


def schedule_path(model, name, solver, K):
    """Where the schedule of a cell lies."""
    return f"<results>/{model}/schedules/{name}/{method(name).schedule_solver(solver)}/K{K}.json"


def solvers(model):
    """Solvers of the tables on ``model``, in order of appearance."""
    return list(dict.fromkeys(t["solver"] for t in TABLES.values() if t["model"] == model))


def all_solvers():
    """Solvers of all tables, in order of appearance."""
    return list(dict.fromkeys(t["solver"] for t in TABLES.values()))


def solver_budgets(wildcards):
    """Budgets that are learned on the endpoint error for one model and solver, for params."""
    pairs = cells(wildcards.model, wildcards.solver)
    return sorted({K for name, K in pairs if name == "art_rl_endpoint"})


def model_settings(block):
    """A block of settings, the model's own values over the common ones, for params."""

    def settings(wildcards):
        return {**config[block], **MODELS[wildcards.model].get(block, {})}

    return settings


def budgets(solver="any"):
    """Budgets K of the tables that use ``solver`` ("any": of all tables), increasing."""
    return sorted(
        {K for t in TABLES.values() if solver in ("any", t["solver"]) for K in t["budgets"]}
    )


def used_methods():
    """Methods of any table."""
    return {name for table in TABLES for name in table_methods(table)}


def paths_of(names, solver):
    """Path patterns, with {model} open, of the schedules one multi-output job writes."""
    return [
        schedule_path("{model}", name, solver, K)
        for name in names
        if name in used_methods() and method(name).runs_with(solver)
        for K in budgets(solver)
    ]


def cell_schedules(wildcards):
    """Schedules evaluated in one cells file."""
    return [
        schedule_path(wildcards.model, name, wildcards.solver, K)
        for name, K in cells(wildcards.model, wildcards.solver)
    ]


def model_cells(wildcards):
    """Cells files of all solvers of a model."""
    return expand(
        "<results>/{model}/cells/{solver}.csv",
        model=wildcards.model,
        solver=solvers(wildcards.model),
    )


def table_cells(wildcards):
    """Cells file a table is made of."""
    table = TABLES[wildcards.table]
    return f"<results>/{table['model']}/cells/{table['solver']}.csv"


def table_provenance(wildcards):
    """Provenance of a table's cells."""
    return table_cells(wildcards).replace(".csv", ".provenance.json")


def rows_of_table(wildcards):
    """Method ids of a table, for params."""
    return table_methods(wildcards.table)


def learner_of(name):
    """The learner whose schedules are the rows of method ``name``."""
    return next(key for key, entry in LEARNERS.items() if entry.get("method") == name)


def run_settings(wildcards):
    """Settings of a learner's run, the model's own values over the common ones, for params."""
    own = MODELS[wildcards.model].get("learners", {}).get(wildcards.learner, {})
    return {**LEARNERS[wildcards.learner]["settings"], **own}


def learner_settings(wildcards):
    """The learner behind a schedule."""
    learner = learner_of(wildcards.method)
    own = MODELS[wildcards.model].get("learners", {}).get(learner, {})
    entry = LEARNERS[learner]
    return {**entry, "settings": {**entry["settings"], **own}}


def network_upstream(wildcards):
    """Weights for learning one budget on its own; a clock learned upstream needs none."""
    return network_files(wildcards) if is_per_budget(learner_of(wildcards.method)) else []


def learners(kind):
    """Names of the learners of one kind, as a wildcard pattern."""
    return "|".join(name for name, entry in LEARNERS.items() if entry["kind"] == kind) or "none"


def is_per_budget(learner):
    """Whether a learner learns each budget on its own."""
    return LEARNERS[learner]["settings"].get("mode") == "per_budget"


def learned_files(model, learner, seed, *names):
    """Files of one learner's run."""
    folder = f"<results>/{model}/learning/{learner}/seed{seed}"
    return [f"{folder}/{name}" for name in names]


def learned_upstream(wildcards):
    """What a schedule of an ART-RL method is made from."""
    learner = learner_of(wildcards.method)
    if is_per_budget(learner):
        return [f"<results>/{wildcards.model}/control_table.safetensors"]
    seed = LEARNERS[learner]["seeds"][0]
    if LEARNERS[learner]["kind"] == "clock":
        return learned_files(wildcards.model, learner, seed, "clock.json")
    return learned_files(wildcards.model, f"{learner}_{wildcards.solver}", seed, "schedules.json")


def every_schedule():
    """All schedules the tables ask for: the target of `snakemake schedules`."""
    return sorted(
        {schedule_path(m, n, s, K) for m in MODELS for s in solvers(m) for n, K in cells(m, s)}
    )
