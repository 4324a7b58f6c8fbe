# Notebooks: the percent script is the source; they read results and compute nothing heavy.


rule execute_notebook:
    """A notebook with its outputs, from the results of this run."""
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
