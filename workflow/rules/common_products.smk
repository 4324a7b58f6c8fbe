# What the report and paper_figures/ hold: functions of the rules of tables, figures and notebooks.


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
