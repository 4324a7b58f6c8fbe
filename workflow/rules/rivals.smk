# Rival schedules: what they measure of a model, once; schedules of all budgets from it; LD3 by solver.


rule rival_statistics:
    """GITS teacher, denoising error, score change, denoiser change of one model (rows of rivals)."""
    input:
        network=products.network,
        code=modules("rival_statistics.py"),
    output:
        statistics="<results>/{model}/rivals.npz",
    log:
        "<logs>/{model}/rival_statistics.log",
    benchmark:
        "<benchmarks>/{model}/rival_statistics.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
        rivals=products.block("rivals"),
    script:
        "../scripts/rival_statistics.py"


rule rival_schedules:
    """GITS, DMN, score-optimal, entropic, ELBO and Align Your Steps at every budget."""
    input:
        statistics="<results>/{model}/rivals.npz",
        code=modules("rival_schedules.py"),
    output:
        products.rival_patterns(registry.made_from(registry.STATISTICS)),
    log:
        "<logs>/{model}/rival_schedules.log",
    benchmark:
        "<benchmarks>/{model}/rival_schedules.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        model=products.model,
    script:
        "../scripts/rival_schedules.py"


rule oss_schedules:
    """Optimal stepsize at every budget: a search along a teacher's trajectories."""
    input:
        network=products.network,
        code=modules("oss_schedules.py"),
    output:
        products.rival_patterns(["oss"]),
    log:
        "<logs>/{model}/oss_schedules.log",
    benchmark:
        "<benchmarks>/{model}/oss_schedules.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
        rivals=products.block("rivals"),
    script:
        "../scripts/oss_schedules.py"


for solver in targets.solvers():
    if products.rival_patterns(registry.LD3_ROWS, solver):

        rule:
            name:
                f"learn_ld3_{solver}"
            input:
                network=products.network,
                code=modules("learn_ld3.py"),
            output:
                schedules=products.rival_patterns(registry.LD3_ROWS, solver),
                trace=f"<results>/{{model}}/learning/ld3_{solver}/trace.csv",
            log:
                f"<logs>/{{model}}/learn_ld3_{solver}.log",
            benchmark:
                f"<benchmarks>/{{model}}/learn_ld3_{solver}.tsv"
            conda:
                NUMERICS
            resources:
                gpu=products.gpus,
                mem_mb=products.memory,  # on a cluster; the names of these rules depend on the configuration
                runtime=240,
            params:
                model=products.model,
                ld3=products.block("ld3"),
                solver=solver,
            script:
                "../scripts/learn_ld3.py"


rule adaptive_points:
    """Calls and error of the adaptive solver per tolerance: points beside the frontier."""
    input:
        network=products.network,
        code=modules("adaptive_points.py"),
    output:
        points="<results>/{model}/adaptive.csv",
    log:
        "<logs>/{model}/adaptive_points.log",
    benchmark:
        "<benchmarks>/{model}/adaptive_points.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
        rivals=products.block("rivals"),
    script:
        "../scripts/adaptive_points.py"


rule compare_rivals:
    """ART-RL beside its rivals on one model: outcomes, best pairs per NFE."""
    input:
        cells=products.model_cells,
        statistics="<results>/{model}/rivals.npz",
        adaptive="<results>/{model}/adaptive.csv",
        code=modules("compare_rivals.py"),
    output:
        outcomes=report(
            "<figures>/{name}/{model}_rivals.csv",
            caption="../report/rivals.rst",
            category="Tables",
            labels={"model": "{model}", "table": "ART-RL and its rivals", "metric": "all"},
        ),
        frontier=report(
            "<figures>/{name}/{model}_frontier.csv",
            caption="../report/rivals.rst",
            category="Tables",
            labels={"model": "{model}", "table": "best per NFE", "metric": "all"},
        ),
        outcomes_md="<figures>/{name}/{model}_rivals.md",
        frontier_md="<figures>/{name}/{model}_frontier.md",
        pdf=[
            "<figures>/{name}/{model}_frontier.pdf",
            "<figures>/{name}/{model}_rival_statistics.pdf",
        ],
        png=[
            shown(
                f"<figures>/{{name}}/{{model}}_{figure}.png",
                "rivals",
                "Figures",
                {"model": "{model}", "figure": figure},
            )
            for figure in ("frontier", "rival_statistics")
        ],
    log:
        "<logs>/{model}/{name}_compare_rivals.log",
    conda:
        "../../envs/plots.yaml"
    params:
        metrics=products.model_metrics,
    script:
        "../scripts/compare_rivals.py"
