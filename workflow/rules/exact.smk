# Models whose score is known exactly: reference endpoints and cells in one job per solver.


rule seed_blocks:
    """Starting noise, reference endpoints and metric floors of each seed block (all tables)."""
    input:
        code=modules("seed_blocks.py"),
    output:
        blocks="<results>/{model}/seed_blocks.npz",
        facts="<results>/{model}/seed_blocks.json",
    log:
        "<logs>/{model}/seed_blocks.log",
    benchmark:
        "<benchmarks>/{model}/seed_blocks.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        model=lookup("models/{model}", within=config),
        evaluation=config["evaluation"],
    script:
        "../scripts/seed_blocks.py"


rule evaluate_exact:
    """W2 and endpoint RMSE of every method, budget and seed block with one solver (Table 1)."""
    input:
        schedules=products.cell_schedules,
        blocks="<results>/{model}/seed_blocks.npz",
        facts="<results>/{model}/seed_blocks.json",
        code=modules("evaluate_exact.py"),
    output:
        cells="<results>/{model}/cells/{solver}.csv",
        provenance="<results>/{model}/cells/{solver}.provenance.json",
    log:
        "<logs>/{model}/evaluate_{solver}.log",
    benchmark:
        "<benchmarks>/{model}/evaluate_{solver}.tsv"
    wildcard_constraints:
        model=EXACT,
    conda:
        "../../envs/cpu.yaml"
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/evaluate_exact.py"
