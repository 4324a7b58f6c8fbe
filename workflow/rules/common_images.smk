# Functions of the rules of networks: image models and, where they share them, checkpoints.

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
    names = "flow/seeds sampling/shards schedules/schedule denoisers/unet denoisers/base"
    names += " metrics/features metrics/lenet metrics/frechet"
    paths = [SOURCE / f"art_rl/{name}.py" for name in names.split()]
    paths += sorted(SOURCE.glob("art_rl/flow/solvers/*.py"))
    return [from_cwd(path) for path in paths]


def shard_files(pattern, blocks=None):
    """Input function: one file per shard of the model's first ``blocks`` seed blocks (all), in seed order."""

    def files(wildcards):
        sampling = MODELS[wildcards.model]["sampling"]
        shards = -(-sampling["samples"] // sampling["shard"])
        return expand(
            pattern,
            block=range(blocks or sampling["seed_blocks"]),
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
    assets = json.loads((SOURCE / "art_rl/assets/catalogue.json").read_text())["assets"].values()
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
        if name in methods_of_table(config, table)
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
