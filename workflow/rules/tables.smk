# From cells to tables.


rule render_table:
    """Table 1 of the paper and its siblings: one model, solver and metric."""
    input:
        cells=products.table_cells(),
        provenance=products.table_cells(".provenance.json"),
        paper=products.from_cwd("src/art_rl/report/paper_tables.json"),
        code=modules("render_table.py"),
    output:
        csv=report(
            "<figures>/{name}/{table}_{metric}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}", "metric": "{metric}"},
        ),
        md="<figures>/{name}/{table}_{metric}.md",
        tex="<figures>/{name}/{table}_{metric}.tex",
    log:
        "<logs>/tables/{name}_{table}_{metric}.log",
    conda:
        "../../envs/plots.yaml"
    params:
        table=lookup("tables/{table}", within=config),
        methods=products.table_rows,
    script:
        "../scripts/render_table.py"


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
            labels={"table": "objectives", "metric": "ART objective"},
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


rule provenance:
    """Where every number of paper_figures/<name>/ comes from."""
    input:
        cells=products.every_provenance(),
        tables=products.tables(["csv"]),
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
