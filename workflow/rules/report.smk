# What a reader gets: tables, figures, notebooks and where their numbers come from.

# One rule per model: which tables and figures it has depends on what is asked of it.
for model in targets.used():

    rule:
        name:
            f"tables_{model}"
        input:
            cells=products.cell_files(model),
            provenance=products.cell_files(model, ".provenance.json"),
            paper=products.from_cwd("src/art_rl/report/paper_tables.json"),
            code=modules("render_tables.py", model),
        output:
            [
                shown(path, "wins" if "_wins." in path else "table", "Tables", labels)
                for path, labels in products.table_outputs(model).items()
            ],
        log:
            f"<logs>/{model}/{config['name']}_tables.log",
        conda:
            "../../envs/plots.yaml"
        params:
            model=model,
            tables=targets.tables_of(model),
            wins=targets.has_learned(model),
        script:
            "../scripts/render_tables.py"

    rule:
        name:
            f"figures_{model}"
        input:
            cells=products.cell_files(model),
            provenance=products.cell_files(model, ".provenance.json")[:1],
            previews=products.previews(model),
            schedules=products.schedules_of(model),
            profile=[f"<results>/{model}/profile.npz"] * targets.has_profile(model),
            optimum=[f"<results>/{model}/closed_form_clock.csv"] * bool(targets.fine_runs(model)),
            clocks=products.clock_files(model, "metrics.jsonl"),
            reports=products.clock_files(model, "result.json"),
            thetas=products.clock_files(model, "theta.csv"),
            endpoint=products.endpoint_metrics(model),
            losses=products.losses(model),
            code=modules("draw_figures.py", model),
        output:
            pdf=list(products.figure_paths(model, "pdf").values()),
            png=[
                shown(path, kind, "Figures", {"model": model, "figure": kind})
                for kind, path in products.figure_paths(model, "png").items()
            ],
        log:
            f"<logs>/{model}/{config['name']}_figures.log",
        conda:
            "../../envs/plots.yaml"
        params:
            model=model,
            kinds=products.figure_kinds(model),
            settings=targets.models[model],
            solvers=targets.solvers(model),
            metrics=targets.metrics(model),
            figures=config["figures"],
            runs=[
                (name, targets.learner_label(name), seed)
                for name, seed in targets.fine_runs(model)
            ],
            budgets=targets.figure_budgets(model),
            network=targets.kind(model).network,
        script:
            "../scripts/draw_figures.py"


rule left_sum_figure:
    """Three-step lists, both costs of all lists, both costs along the learning."""
    input:
        lists="<results>/{model}/left_sum/lists.csv",
        landscape="<results>/{model}/left_sum/landscape.csv",
        learning="<results>/{model}/left_sum/learning.csv",
        code=modules("draw_left_sum.py"),
    output:
        pdf="<figures>/{name}/{model}_left_sum.pdf",
        png=report(
            "<figures>/{name}/{model}_left_sum.png",
            caption="../report/left_sum.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "left_sum"},
        ),
        md="<figures>/{name}/{model}_left_sum.md",
    log:
        "<logs>/{model}/{name}_left_sum_figure.log",
    conda:
        "../../envs/plots.yaml"
    script:
        "../scripts/draw_left_sum.py"


rule objectives:
    """What every learner and seed reached, against the optimum it can be held to."""
    input:
        reports=products.all_reports(),
        metrics=products.all_reports("metrics.jsonl"),
        code=modules("objectives.py"),
    output:
        csv=report(
            "<figures>/{name}/objectives.csv",
            caption="../report/objectives.rst",
            category="Tables",
            labels={"model": "all", "table": "objectives", "metric": "ART objective"},
        ),
        md="<figures>/{name}/objectives.md",
        tex="<figures>/{name}/objectives.tex",
        timings="<figures>/{name}/timings.csv",
    log:
        "<logs>/tables/{name}_objectives.log",
    conda:
        "../../envs/plots.yaml"
    params:
        runs=targets.all_runs(),
    script:
        "../scripts/objectives.py"


rule costs:
    """What learning costs: network evaluations behind every fitted and learned row, and its endpoint RMSE."""
    input:
        cells=products.counted("cells"),
        provenance=products.counted("provenance"),
        profile=products.counted("profile"),
        endpoint=products.counted("endpoint"),
        table=products.table_costs(),
        code=modules("costs.py"),
    output:
        csv=report(
            "<figures>/{name}/costs.csv",
            caption="../report/costs.rst",
            category="Tables",
            labels={"model": "all", "table": "costs", "metric": "network evaluations"},
        ),
        md="<figures>/{name}/costs.md",
        tex="<figures>/{name}/costs.tex",
        timings="<figures>/{name}/costs_timings.csv",
        pdf="<figures>/{name}/costs.pdf",
        png=report(
            "<figures>/{name}/costs.png",
            caption="../report/costs.rst",
            category="Figures",
            labels={"model": "all", "figure": "costs"},
        ),
    log:
        "<logs>/tables/{name}_costs.log",
    conda:
        "../../envs/plots.yaml"
    script:
        "../scripts/costs.py"


rule export_schedules:
    """Closed-form and learned schedules of networks beside the figures, for use elsewhere and for Table 6."""
    input:
        list(products.exported().values()),
    output:
        list(products.exported()),
    log:
        "<logs>/export_schedules.log",
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/export_schedules.py"


rule provenance:
    """Where every number of paper_figures/<name>/ comes from."""
    input:
        cells=products.every_provenance(),
        tables=products.tables("csv"),
        code=modules("provenance.py"),
    output:
        "<figures>/{name}/provenance.json",
    log:
        "<logs>/tables/{name}_provenance.log",
    conda:
        "../../envs/plots.yaml"
    params:
        config=config,
        root=products.from_cwd("."),
    script:
        "../scripts/provenance.py"


rule execute_notebook:
    """A notebook with its outputs, from the results of this run; it computes nothing heavy."""
    input:
        source=products.from_cwd("notebooks/{notebook}.py"),
        tables=products.tables(),
        schedules=products.every_schedule(),
        code=modules("execute_notebook.py"),
    output:
        "<results>/notebooks/{notebook}.ipynb",
    log:
        "<logs>/notebooks/{notebook}.log",
    benchmark:
        "<benchmarks>/notebooks/{notebook}.tsv"
    conda:
        "../../envs/notebooks.yaml"
    params:
        root=products.from_cwd("."),
        name=config["name"],
        paths=config.get("pathvars", {}),
    script:
        "../scripts/execute_notebook.py"
