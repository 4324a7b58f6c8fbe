# From cells to tables.


rule render_table:
    """Table 1 of the paper and its siblings: one model, solver and metric."""
    input:
        cells=table_cells,
        provenance=table_provenance,
        paper=from_cwd(ROOT / "src/art_rl/paper_tables.json"),
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
        methods=rows_of_table,
    script:
        "../scripts/render_table.py"
