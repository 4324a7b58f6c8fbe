# Figures of paper_figures/, each as pdf and png, from tidy CSV.


rule plot_error:
    """W2 and endpoint RMSE against K for every solver (the paper's Table 1 as a picture)."""
    input:
        cells=products.cells(),
        provenance=products.cells(".provenance.json"),
        code=modules("plot_error.py"),
    output:
        pdf="<figures>/{name}/{model}_error.pdf",
        png=report(
            "<figures>/{name}/{model}_error.png",
            caption="../report/error.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "error against K"},
        ),
    log:
        "<logs>/figures/{name}_{model}_error.log",
    conda:
        "../../envs/plots.yaml"
    params:
        metrics=products.model_metrics,
        methods=config["figures"]["methods"],
    script:
        "../scripts/plot_error.py"


rule plot_schedules:
    """sigma_k against k for every method (the paper's schedule figure)."""
    input:
        schedules=products.drawn_schedules,
        code=modules("plot_schedules.py"),
    output:
        pdf="<figures>/{name}/{model}_schedules.pdf",
        png=report(
            "<figures>/{name}/{model}_schedules.png",
            caption="../report/schedules.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "schedules"},
        ),
    log:
        "<logs>/figures/{name}_{model}_schedules.log",
    wildcard_constraints:
        model=EXACT,
    conda:
        "../../envs/plots.yaml"
    params:
        model=lookup("models/{model}", within=config),
        solver=products.first_solver,
        methods=config["figures"]["methods"],
    script:
        "../scripts/plot_schedules.py"


rule plot_profile:
    """|Q| along trajectories with its uncertainty, and the flow's sensitivity."""
    input:
        profile="<results>/{model}/profile.csv",
        code=modules("plot_profile.py"),
    output:
        pdf="<figures>/{name}/{model}_profile.pdf",
        png=report(
            "<figures>/{name}/{model}_profile.png",
            caption="../report/profile.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "|Q| profile"},
        ),
    log:
        "<logs>/figures/{name}_{model}_profile.log",
    wildcard_constraints:
        model=EXACT,
    conda:
        "../../envs/plots.yaml"
    script:
        "../scripts/plot_profile.py"


rule plot_theta:
    """The learned clock's speed theta(t) with its 99 % band (the paper's theta figure)."""
    input:
        clocks=products.first_clocks,
        optimum="<results>/{model}/closed_form_clock.csv",
        code=modules("plot_theta.py"),
    output:
        pdf="<figures>/{name}/{model}_theta.pdf",
        png=report(
            "<figures>/{name}/{model}_theta.png",
            caption="../report/theta.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "theta(t)"},
        ),
    log:
        "<logs>/figures/{name}_{model}_theta.log",
    wildcard_constraints:
        model=EXACT,
    conda:
        "../../envs/plots.yaml"
    params:
        labels=[targets.learner_label(name) for name in targets.fine_learners()],
    script:
        "../scripts/plot_theta.py"


rule plot_learning:
    """The objective while learning, against the closed-form optimum, every seed."""
    input:
        metrics=products.clock_files("metrics.jsonl"),
        reports=products.clock_files("result.json"),
        code=modules("plot_learning.py"),
    output:
        pdf="<figures>/{name}/{model}_learning.pdf",
        png=report(
            "<figures>/{name}/{model}_learning.png",
            caption="../report/learning.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "learning curves"},
        ),
    log:
        "<logs>/figures/{name}_{model}_learning.log",
    wildcard_constraints:
        model=EXACT,
    conda:
        "../../envs/plots.yaml"
    params:
        runs=products.run_labels,
    script:
        "../scripts/plot_learning.py"
