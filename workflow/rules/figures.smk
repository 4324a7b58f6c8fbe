# Figures of paper_figures/, each as pdf and png, from tidy CSV.


rule plot_error:
    """W2 and endpoint RMSE against K for every solver (the paper's Table 1 as a picture)."""
    input:
        cells=model_cells,
        provenance=model_cells_provenance,
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
        metrics=metrics_of_model,
        methods=config["figures"]["methods"],
    script:
        "../scripts/plot_error.py"


rule plot_schedules:
    """sigma_k against k for every method (the paper's schedule figure)."""
    input:
        schedules=drawn_schedules,
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
        model="|".join(models_of_kind("exact")) or "none",
    conda:
        "../../envs/plots.yaml"
    params:
        model=lookup("models/{model}", within=config),
        solver=first_solver,
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
        model="|".join(models_of_kind("exact")) or "none",
    conda:
        "../../envs/plots.yaml"
    script:
        "../scripts/plot_profile.py"


rule plot_theta:
    """The learned clock's speed theta(t) with its 99 % band (the paper's theta figure)."""
    input:
        clocks=first_seed_clocks,
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
        model="|".join(models_of_kind("exact")) or "none",
    conda:
        "../../envs/plots.yaml"
    params:
        labels=[learner_label(name) for name in fine_learners()],
    script:
        "../scripts/plot_theta.py"


rule plot_learning:
    """The objective while learning, against the closed-form optimum, every seed."""
    input:
        metrics=learning_metrics,
        reports=learning_reports,
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
        model="|".join(models_of_kind("exact")) or "none",
    conda:
        "../../envs/plots.yaml"
    params:
        runs=[(learner_label(name), seed) for name, seed in fine_runs()],
    script:
        "../scripts/plot_learning.py"
