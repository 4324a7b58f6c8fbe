# Functions of the rules of official checkpoints.


def asset_path(name):
    """Where an asset of the catalogue or of the configuration lies."""
    known = json.loads((SOURCE / "art_rl/assets/catalogue.json").read_text())["assets"]
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
    names = "flow/seeds sampling/shards denoisers/base metrics/features"
    names += " metrics/frechet metrics/fidelity_compat"
    paths = [SOURCE / f"art_rl/{name}.py" for name in names.split()]
    for package in ("denoisers/edm", "flow/solvers"):
        paths += sorted(SOURCE.glob(f"art_rl/{package}/*.py"))
    return [from_cwd(path) for path in paths]


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
