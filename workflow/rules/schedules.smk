# Schedules that need no learning: hand-made, and closed-form from measured |Q| or error moments.


rule hand_made_schedules:
    """Uniform, DPM, EDM, arctan, cosine, Gaussian at every budget (rows of Table 1)."""
    input:
        network=products.network,
        code=modules("hand_made_schedules.py"),
    output:
        products.schedule_patterns(ids(registry.HAND_MADE)),
    log:
        "<logs>/{model}/hand_made_schedules.log",
    benchmark:
        "<benchmarks>/{model}/hand_made_schedules.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
    script:
        "../scripts/hand_made_schedules.py"


rule measure_profile:
    """|Q| and the flow's sensitivity along trajectories: the |Q| figure and all closed forms."""
    input:
        network=products.network,
        code=modules("measure_profile.py"),
    output:
        profile="<results>/{model}/profile.npz",
        csv="<results>/{model}/profile.csv",
    log:
        "<logs>/{model}/measure_profile.log",
    benchmark:
        "<benchmarks>/{model}/measure_profile.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
        profile=products.block("profile"),
    script:
        "../scripts/measure_profile.py"


rule closed_form_schedules:
    """ART closed form, its K-step, order-p and propagated variants at every budget (rows of Table 1)."""
    input:
        profile="<results>/{model}/profile.npz",
        code=modules("closed_form_schedules.py"),
    output:
        products.schedule_patterns(registry.made_from(registry.PROFILE)),
        clock="<results>/{model}/closed_form_clock.csv",
    log:
        "<logs>/{model}/closed_form_schedules.log",
    benchmark:
        "<benchmarks>/{model}/closed_form_schedules.tsv"
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/closed_form_schedules.py"


# A fit costs: each model is fitted for the solvers and budgets of its own tables only.
for number, (wanted, models) in enumerate(targets.fits("gauss_newton"), 1):

    rule:
        name:
            f"gauss_newton_schedules_{number}"
        input:
            network=products.network,
            profile="<results>/{model}/profile.npz",
            code=modules("gauss_newton_schedules.py"),
        output:
            products.fitted("gauss_newton", wanted),
        log:
            "<logs>/{model}/gauss_newton_schedules.log",
        benchmark:
            "<benchmarks>/{model}/gauss_newton_schedules.tsv"
        wildcard_constraints:
            model=pattern(models),
        conda:
            NUMERICS
        resources:
            gpu=products.gpus,
            mem_mb=products.memory,
            runtime=240,
        params:
            model=products.model,
            control=products.block("control"),
        script:
            "../scripts/gauss_newton_schedules.py"


# Each model's moments are measured for the solvers of its own tables only.
for number, (wanted, models) in enumerate(targets.fits("endpoint"), 1):

    rule:
        name:
            f"error_moments_{number}"
        input:
            network=products.network,
            code=modules("error_moments.py"),
        output:
            [f"<results>/{{model}}/error_moments/{solver}.npz" for solver in wanted],
        log:
            "<logs>/{model}/error_moments.log",
        benchmark:
            "<benchmarks>/{model}/error_moments.tsv"
        wildcard_constraints:
            model=pattern(models),
        conda:
            NUMERICS
        resources:
            gpu=products.gpus,
            mem_mb=products.memory,  # Of a Slurm job.
            runtime=240,
        params:
            model=products.model,
            endpoint=products.block("endpoint"),
        script:
            "../scripts/error_moments.py"

    rule:
        name:
            f"endpoint_schedules_{number}"
        input:
            moments=[f"<results>/{{model}}/error_moments/{solver}.npz" for solver in wanted],
            code=modules("endpoint_schedules.py"),
        output:
            products.fitted("endpoint", wanted),
        log:
            "<logs>/{model}/endpoint_schedules.log",
        benchmark:
            "<benchmarks>/{model}/endpoint_schedules.tsv"
        wildcard_constraints:
            model=pattern(models),
        conda:
            "../../envs/cpu.yaml"
        script:
            "../scripts/endpoint_schedules.py"


rule transfer_budget:
    """The learned schedule of one K, resampled to the other budgets (Table 5)."""
    input:
        schedule=products.budget_source,
        code=modules("transfer_schedules.py"),
    output:
        products.carried("transfer_budget"),
    log:
        "<logs>/{model}/transfer_budget_{solver}.log",
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/transfer_schedules.py"


# Schedules learned on another data set, as they are (Table 6).
use rule transfer_budget as transfer_data with:
    input:
        schedule=products.data_source,
        code=modules("transfer_schedules.py"),
    output:
        products.carried("transfer_data"),
    log:
        "<logs>/{model}/transfer_data_{solver}.log",
