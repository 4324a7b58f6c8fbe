# ART-RL: what budgets share is learned once (learn_clock); train_art_rl gives the schedule of one K.


rule control_table:
    """|Q| along exact trajectories on a fine lattice: the environment every learner shares."""
    input:
        network=products.network,
        code=modules("control_table.py"),
    output:
        table="<results>/{model}/control_table.safetensors",
    log:
        "<logs>/{model}/control_table.log",
    benchmark:
        "<benchmarks>/{model}/control_table.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        control=products.block("control"),
    script:
        "../scripts/control_table.py"


rule learn_clock:
    """One fine clock by actor-critic, for every budget (theta and learning-curve figures, objectives)."""
    input:
        table="<results>/{model}/control_table.safetensors",
        code=modules("learn_clock.py"),
    output:
        tensors="<results>/{model}/learning/{learner}/seed{seed}/result.safetensors",
        report="<results>/{model}/learning/{learner}/seed{seed}/result.json",
        metrics="<results>/{model}/learning/{learner}/seed{seed}/metrics.jsonl",
        clock="<results>/{model}/learning/{learner}/seed{seed}/clock.json",
        theta="<results>/{model}/learning/{learner}/seed{seed}/theta.csv",
    log:
        "<logs>/{model}/learn_clock_{learner}_seed{seed}.log",
    benchmark:
        "<benchmarks>/{model}/learn_clock_{learner}_seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=products.run_settings,
    script:
        "../scripts/learn_clock.py"


rule learn_endpoint:
    """Schedules of every budget for one solver, learned on the measured endpoint error (Table 1)."""
    input:
        profile="<results>/{model}/profile.npz",
        network=products.network,
        code=modules("learn_endpoint.py"),
    output:
        tensors="<results>/{model}/learning/{learner}_{solver}/seed{seed}/result.safetensors",
        report="<results>/{model}/learning/{learner}_{solver}/seed{seed}/result.json",
        metrics="<results>/{model}/learning/{learner}_{solver}/seed{seed}/metrics.jsonl",
        schedules="<results>/{model}/learning/{learner}_{solver}/seed{seed}/schedules.json",
    log:
        "<logs>/{model}/learn_endpoint_{learner}_{solver}_seed{seed}.log",
    benchmark:
        "<benchmarks>/{model}/learn_endpoint_{learner}_{solver}_seed{seed}.tsv"
    wildcard_constraints:
        learner=pattern(targets.of_learner_kind("endpoint")),
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        control=products.block("control"),
        settings=products.run_settings,
        budgets=products.endpoint_budgets,
    script:
        "../scripts/learn_endpoint.py"


rule train_art_rl:
    """The ART-RL schedule of one budget K: distilled from what was learned upstream, or, in the
    paper's per_budget mode, learned here on a clock of K steps (rows of Table 1)."""
    input:
        learned=products.learned_upstream,
        network=products.network_upstream,
        code=modules("train_art_rl.py"),
    output:
        schedule="<results>/{model}/schedules/{method}/{solver}/K{K}.json",
    log:
        "<logs>/{model}/train_{method}_{solver}_K{K}.log",
    benchmark:
        "<benchmarks>/{model}/train_{method}_{solver}_K{K}.tsv"
    wildcard_constraints:
        method=pattern(ids(LEARNED)),
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        control=products.block("control"),
        learner=products.learner_settings,
    script:
        "../scripts/train_art_rl.py"
