# All Python of the workflow: the checked configuration, paths, and the functions rules use as input.

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
from art_rl.machine import check_machine
from art_rl.methods import CLOSED_FORM, HAND_MADE, LEARNED, METHODS, method
from art_rl.plan import make_plan
from art_rl.settings import check_experiment_settings, methods_of_table, wanted_cells

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
    solver="any|euler|heun|rk4",
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
    networks = ("denoisers/unet", "denoisers/edm/", "art_rl/checkpoints/")

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


# What the report and paper_figures/ hold.


def model_metrics(model):
    """Metrics of a model's tables."""
    return list(
        dict.fromkeys(x for t in TABLES.values() if t["model"] == model for x in t["metrics"])
    )


def tables():
    """Every rendered table."""
    return [
        f"<figures>/{config['name']}/{table}_{metric}.{suffix}"
        for table, entry in TABLES.items()
        for metric in entry["metrics"]
        for suffix in ("csv", "md", "tex")
    ]


def used_models():
    """Models that appear in tables, in order of appearance."""
    return list(dict.fromkeys(t["model"] for t in TABLES.values()))


def drawn_models():
    """Exact models that appear in tables; image models have figures of their own."""
    return [model for model in used_models() if MODELS[model]["kind"] == "exact"]


def fine_learners():
    """Names of the learners of one fine clock for every budget."""
    return [n for n, e in LEARNERS.items() if e["kind"] == "clock" and not is_per_budget(n)]


def learner_label(name):
    """What a reader sees for a learner: its form and what its actor sees."""
    settings = LEARNERS[name]["settings"]
    form = {"feedback": "feedback", "paper": "paper's form"}[settings.get("form", "feedback")]
    return f"{form}, sees " + ("t, ψ, x" if settings.get("state") == "full" else "t, ψ")


def fine_runs():
    """(learner, seed) of every fine learner."""
    return [(name, seed) for name in fine_learners() for seed in LEARNERS[name]["seeds"]]


def all_runs():
    """(model, learner, seed) of every fine learner on every exact model, and of those whose
    schedules are sampled on every network."""
    exact = [(model, *run) for model in drawn_models() for run in fine_runs()]
    return exact + [(model, *run) for model in network_models() for run in used_learners(model)]


def first_seed_clocks(wildcards):
    """theta(t) of the first seed of every fine learner."""
    model = wildcards.model
    return [
        learned_files(model, name, LEARNERS[name]["seeds"][0], "theta.csv")[0]
        for name in fine_learners()
    ]


def learning_metrics(wildcards):
    """Metrics per iteration of every fine run of a model."""
    return [learned_files(wildcards.model, *run, "metrics.jsonl")[0] for run in fine_runs()]


def learning_reports(wildcards):
    """Reports of every fine run of a model."""
    return [learned_files(wildcards.model, *run, "result.json")[0] for run in fine_runs()]


def all_reports():
    """Reports of every fine run of every model."""
    return [learned_files(*run, "result.json")[0] for run in all_runs()]


def first_solver(wildcards):
    """The solver whose schedules a model's schedule figure shows, for params."""
    return solvers(wildcards.model)[0]


def drawn_schedules(wildcards):
    """Schedules of a model's schedule figure, for its first solver."""
    solver = solvers(wildcards.model)[0]
    known = set(cells(wildcards.model, solver))
    return [
        schedule_path(wildcards.model, name, solver, K)
        for name in config["figures"]["methods"]
        for K in config["figures"]["budgets"]
        if (name, K) in known
    ]


def metrics_of_model(wildcards):
    """Metrics of a model's tables, for params."""
    return model_metrics(wildcards.model)


def model_cells_provenance(wildcards):
    """Provenance of a model's cells, all solvers."""
    return [path.replace(".csv", ".provenance.json") for path in model_cells(wildcards)]


def all_cells_provenance():
    """Provenance of every cells file."""
    return [
        f"<results>/{model}/cells/{solver}.provenance.json"
        for model in used_models()
        for solver in solvers(model)
    ]


def figures():
    """Every rendered figure, the table of objectives, and the provenance of all numbers."""
    kinds = ["error", "schedules", "profile"] + (["theta", "learning"] if fine_learners() else [])
    folder = f"<figures>/{config['name']}"
    paths = [
        f"{folder}/{model}_{kind}.{suffix}"
        for model in drawn_models()
        for kind in kinds
        for suffix in ("pdf", "png")
    ]
    if all_runs():
        paths += [f"{folder}/objectives.{suffix}" for suffix in ("csv", "md", "tex")]
    return [*paths, f"{folder}/provenance.json"]


def notebooks():
    """Executed notebooks; the .ipynb of a pair is made from its percent script."""
    sources = sorted((ROOT / "notebooks").glob("*.py"))
    for kind in NETWORK_KINDS:
        if not models_of_kind(kind):
            sources = [path for path in sources if kind not in path.stem]
    if len(models_of_kind("edm")) == len(MODELS):  # the others read tables of RMSE
        sources = [path for path in sources if "edm" in path.stem]
    return [f"<results>/notebooks/{path.stem}.ipynb" for path in sources]


# Image models.

FIGURE_KINDS = ["fid_nfe", "rmse_nfe", "schedules", "profile", "learning", "theta", "loss"]

# Images kept per cell for the sample grids.
PREVIEW = 16


NETWORK_KINDS = ("image", "edm")


def network_models():
    """Names of the models that are networks."""
    return [name for kind in NETWORK_KINDS for name in models_of_kind(kind)]


def models_of_kind(kind):
    """Names of the models of one kind."""
    return [name for name, model in MODELS.items() if model["kind"] == kind]


def sampling_modules():
    """Modules that decide what a network's samples and their features are."""
    names = "solvers seeds sampling denoisers/unet denoisers/base metrics/lenet metrics/frechet"
    return [from_cwd(SOURCE / f"art_rl/{name}.py") for name in names.split()]


def shard_files(pattern):
    """Input function: one file per seed block and shard of the model, in seed order."""

    def files(wildcards):
        sampling = MODELS[wildcards.model]["sampling"]
        shards = -(-sampling["samples"] // sampling["shard"])
        return expand(
            pattern,
            block=range(sampling["seed_blocks"]),
            shard=range(shards),
            **dict(wildcards.items()),
        )

    return files


def network_files(wildcards):
    """Weights of a network; nothing for an exact model."""
    if MODELS[wildcards.model]["kind"] == "exact":
        return []
    return f"<results>/{wildcards.model}/network.safetensors"


def mnist_files():
    """The files of MNIST."""
    assets = json.loads((SOURCE / "art_rl/catalogue.json").read_text())["assets"].values()
    return [f"<resources>/mnist/{asset['file']}" for asset in assets if asset["group"] == "mnist"]


def data_files(wildcards):
    """Files of an image model's data set; digits come with scikit-learn."""
    if MODELS[wildcards.model]["data"] == "digits":
        return []
    return mnist_files()


def gpus(wildcards):
    """GPUs a job of a network occupies."""
    return int(MODELS[wildcards.model].get("sampling", {}).get("device") == "cuda")


def transfer_paths(name):
    """Path patterns, with {model} and {solver} open, of the schedules carried over as ``name``."""
    budgets = {
        K
        for table, entry in TABLES.items()
        if name in entry.get("methods", [])
        for K in entry["budgets"]
    }
    return [f"<results>/{{model}}/schedules/{name}/{{solver}}/K{K}.json" for K in sorted(budgets)]


def budget_source(wildcards):
    """The schedule that transfer_budget resamples."""
    return schedule_path(wildcards.model, TRANSFER["method"], wildcards.solver, TRANSFER["budget"])


def data_source(wildcards):
    """Schedules of another model, of this run or committed, one per path of transfer_data."""
    names = [Path(path).stem for path in transfer_paths("transfer_data")]
    if "folder" not in TRANSFER:
        source, solver = TRANSFER["data"], wildcards.solver
        return [schedule_path(source, TRANSFER["method"], solver, name[1:]) for name in names]
    stem = f"{TRANSFER['data']}_{TRANSFER['method']}_{wildcards.solver}"
    return [from_cwd(ROOT / TRANSFER["folder"] / f"{stem}_{name}.json") for name in names]


def exported(model):
    """(schedule, file name) of the closed-form and learned schedules of a network."""
    groups = (CLOSED_FORM, LEARNED)
    pairs = {
        (schedule_path(model, name, solver, K), f"{model}_{name}_{used}_K{K}.json")
        for solver in solvers(model)
        for name, K in cells(model, solver)
        if method(name).group in groups
        for used in [method(name).schedule_solver(solver)]
    }
    return sorted(pairs)


def exported_schedules(wildcards):
    """Schedules of all networks that are copied beside the figures."""
    return [path for model in network_models() for path, _ in exported(model)]


def exported_files():
    """Where they are copied to."""
    return [
        f"<figures>/{config['name']}/schedules/{name}"
        for model in network_models()
        for _, name in exported(model)
    ]


def used_learners(model):
    """(learner, seed) of the fine clocks learned for a model's tables: first seeds."""
    names = {name for solver in solvers(model) for name, _ in cells(model, solver)}
    return [
        (learner, entry["seeds"][0])
        for learner, entry in LEARNERS.items()
        if entry.get("method") in names and entry["settings"].get("mode") == "fine"
    ]


def clock_reports(wildcards):
    """Reports of the fine clocks of a model."""
    pairs = used_learners(wildcards.model)
    return [
        p for name, seed in pairs for p in learned_files(wildcards.model, name, seed, "result.json")
    ]


def clock_metrics(wildcards):
    """Learning curves of the fine clocks of a model."""
    return [path.replace("result.json", "metrics.jsonl") for path in clock_reports(wildcards)]


def clock_thetas(wildcards):
    """theta and its band of the fine clocks of a model."""
    return [path.replace("result.json", "theta.csv") for path in clock_reports(wildcards)]


def endpoint_runs(wildcards):
    """Learning curves of the runs on the endpoint error of a model, one per solver."""
    model = wildcards.model
    learner = [name for name, e in LEARNERS.items() if e.get("method") == "art_rl_endpoint"]
    return [
        path
        for solver in solvers(model)
        if any(name == "art_rl_endpoint" for name, _ in cells(model, solver))
        for path in learned_files(
            model, f"{learner[0]}_{solver}", LEARNERS[learner[0]]["seeds"][0], "metrics.jsonl"
        )
    ]


def model_schedules(wildcards):
    """Every schedule of a model's cells."""
    model = wildcards.model
    return sorted(
        {schedule_path(model, n, s, K) for s in solvers(model) for n, K in cells(model, s)}
    )


def model_previews(wildcards):
    """Preview images of a model, one file per solver."""
    return [path.replace(".csv", "_previews.npz") for path in model_cells(wildcards)]


def image_figures(model):
    """Figures of an image model."""
    kinds = FIGURE_KINDS + [f"samples_{solver}" for solver in solvers(model)]
    if not used_learners(model):
        kinds = [kind for kind in kinds if kind not in ("learning", "theta")]
    return kinds


def figure_kinds():
    """Figures of the image models of this configuration (the same for each)."""
    kinds = [image_figures(model) for model in models_of_kind("image")]
    return kinds[0] if kinds else []


def figure_budgets(wildcards):
    """Budgets of the error figures: those every learned method was asked for, or all."""
    model = wildcards.model
    pairs = [pair for solver in solvers(model) for pair in cells(model, solver)]
    learned = {K for name, K in pairs if method(name).group == LEARNED}
    return sorted(learned or {K for _, K in pairs})


def image_products():
    """Figures, comparisons and exported schedules of all image models."""
    name, products = config["name"], exported_files()
    for model in models_of_kind("image"):
        products += expand(
            "<figures>/{name}/{model}_{kind}.{suffix}",
            name=name,
            model=model,
            kind=image_figures(model),
            suffix=["pdf", "png"],
        )
        products += [f"<figures>/{name}/{model}_wins.{suffix}" for suffix in ("csv", "md")]
        if MODELS[model].get("trust_ablation"):
            products += [f"<figures>/{name}/{model}_trust.{suffix}" for suffix in ("csv", "md")]
    return products


# Checkpoints.


def asset_path(name):
    """Where an asset of the catalogue or of the configuration lies."""
    known = json.loads((SOURCE / "art_rl/catalogue.json").read_text())["assets"]
    asset = {**known, **config["assets"]}[name]
    return f"<resources>/{asset['group']}/{asset['file']}"


def assets_in_use():
    """path -> asset of every checkpoint, reference and Inception file of the configuration."""
    names = [
        MODELS[model][key]
        for model in models_of_kind("edm")
        for key in ("checkpoint", "reference", "inception")
    ]
    return {asset_path(name): name for name in dict.fromkeys(names)}


def model_asset(key):
    """Input function: the file of one of a model's assets."""

    def path(wildcards):
        return asset_path(MODELS[wildcards.model][key])

    return path


def file_asset(wildcards):
    """Name of the asset that a file below resources/ is, for params."""
    return assets_in_use()[f"<resources>/{wildcards.group}/{wildcards.file}"]


def own_asset(wildcards):
    """The asset's entry in the configuration; None if it is one of the catalogue, for params."""
    return config["assets"].get(file_asset(wildcards))


def check_before_start():
    """Stop with one line unless disk, memory and, for local runs, the GPU suffice for the plan."""
    if not models_of_kind("edm"):
        return
    folders = {"results": "results", "resources": "resources", **config.get("pathvars", {})}
    try:
        check_machine(
            make_plan(config), [folders["results"], folders["resources"]], workflow.local_exec
        )
    except ArtRLError as error:
        sys.exit(f"art_rl: {error}")


def checkpoint_threads(wildcards):
    """Threads beside a GPU, for moments and FID; on CPUs shards are what runs in parallel."""
    return 4 if gpus(wildcards) else 1


def checkpoint_modules():
    """Modules that decide what a checkpoint's samples and their features are."""
    names = "solvers seeds sampling denoisers/base metrics/features metrics/frechet fidelity_compat"
    paths = [SOURCE / f"art_rl/{name}.py" for name in names.split()]
    return [from_cwd(path) for path in paths + sorted(SOURCE.glob("art_rl/denoisers/edm/*.py"))]


def checkpoint_pattern():
    """Names of the checkpoints as a wildcard pattern."""
    return "|".join(models_of_kind("edm")) or "none"


def has_profile(model):
    """Whether a method of the model's tables is made from |Q|."""
    names = {name for solver in solvers(model) for name, _ in cells(model, solver)}
    return any(method(name).group == CLOSED_FORM and name != "endpoint" for name in names)


def checkpoint_figures(model):
    """Figures of a checkpoint."""
    kinds = ["fid_nfe", "schedules"] + ["profile"] * has_profile(model)
    kinds += ["learning", "theta"] * bool(used_learners(model))
    return kinds + [f"samples_{solver}" for solver in solvers(model)]


def paper_tables():
    """Tables of checkpoints that have a counterpart in the paper."""
    edm = models_of_kind("edm")
    return [name for name, entry in TABLES.items() if entry["model"] in edm and "paper" in entry]


def checkpoint_products():
    """Figures of all checkpoints and comparisons with the paper."""
    folder = f"<figures>/{config['name']}"
    products = [
        f"{folder}/{model}_{kind}.{suffix}"
        for model in models_of_kind("edm")
        for kind in checkpoint_figures(model)
        for suffix in ("pdf", "png")
    ]
    return products + [
        f"{folder}/{table}_beside_paper.{suffix}"
        for table in paper_tables()
        for suffix in ("csv", "md", "tex")
    ]
