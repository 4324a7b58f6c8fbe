# Schedules that need no learning: hand-made, and closed-form from measured |Q| or error moments.


rule hand_made_schedules:
    """Uniform, DPM, EDM, arctan, cosine, Gaussian at every budget (rows of Table 1)."""
    input:
        code=modules("hand_made_schedules.py"),
    output:
        paths_of(HAND_MADE_METHODS, "any"),
    log:
        "<logs>/{model}/hand_made_schedules.log",
    benchmark:
        "<benchmarks>/{model}/hand_made_schedules.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/hand_made_schedules.py"
