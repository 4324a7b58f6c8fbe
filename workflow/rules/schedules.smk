# Schedules that need no learning: hand-made, and closed-form from measured |Q| or error moments.


rule hand_made_schedules:
    """Uniform, DPM, EDM, arctan, cosine, Gaussian at every budget (rows of Table 1)."""
    input:
        code=modules("hand_made_schedules.py"),
    output:
        paths_of(HAND_MADE_METHODS, "any"),
    params:
        model=lookup("models/{model}", within=config),
    log:
        "<logs>/{model}/hand_made_schedules.log",
    benchmark:
        "<benchmarks>/{model}/hand_made_schedules.tsv"
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/hand_made_schedules.py"


rule measure_profile:
    """|Q| and the flow's sensitivity along trajectories: the |Q| figure and all closed forms."""
    input:
        code=modules("measure_profile.py"),
    output:
        profile="<results>/{model}/profile.npz",
    params:
        model=lookup("models/{model}", within=config),
        profile=config["profile"],
    log:
        "<logs>/{model}/measure_profile.log",
    benchmark:
        "<benchmarks>/{model}/measure_profile.tsv"
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/measure_profile.py"


rule closed_form_schedules:
    """ART closed form, its order-p and propagated variants at every budget (rows of Table 1)."""
    input:
        profile="<results>/{model}/profile.npz",
        code=modules("closed_form_schedules.py"),
    output:
        paths_of(["quadrature", "propagated"], "any"),
        paths_of(["quadrature_order"], "heun"),
        paths_of(["quadrature_order"], "rk4"),
    log:
        "<logs>/{model}/closed_form_schedules.log",
    benchmark:
        "<benchmarks>/{model}/closed_form_schedules.tsv"
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/closed_form_schedules.py"
