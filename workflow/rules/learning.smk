# ART-RL: the table of trajectories every learner shares, and the learners.


rule control_table:
    """|Q| along exact trajectories on a fine lattice: the environment every learner shares."""
    input:
        network=products.network,
        code=modules("control_table.py"),
    output:
        table="<results>/{model}/control_table.safetensors",
        costs="<results>/{model}/control_table.csv",
    log:
        "<logs>/{model}/control_table.log",
    benchmark:
        "<benchmarks>/{model}/control_table.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
        control=products.block("control"),
    script:
        "../scripts/control_table.py"


# One job per model, learner and solver for all its seeds; the first seed's schedules of all its budgets.
for job in targets.learning_jobs():

    rule:
        name:
            job.name
        input:
            learned_from=products.learned_from(job),
            script=products.from_cwd(f"workflow/scripts/learn_{job.kind}.py"),
            code=modules(f"learn_{job.kind}.py"),
        output:
            **{n: job_files(job, f"{n}.csv") for n in ["theta"] if job.kind == "clock"},
            tensors=job_files(job, "result.safetensors"),
            report=job_files(job, "result.json"),
            metrics=job_files(job, "metrics.jsonl"),
            schedules=products.written_by(job),
        log:
            f"<logs>/{{model}}/{job.run}.log",
        benchmark:
            f"<benchmarks>/{{model}}/learn_{job.run}.tsv"
        wildcard_constraints:
            model=pattern(job.models),
        conda:
            NUMERICS if job.kind == "endpoint" else "../../envs/cpu.yaml"
        resources:
            gpu=products.gpus if job.kind == "endpoint" else 0,
            # Of a Slurm job; only the endpoint error needs the network.
            mem_mb=products.memory if job.kind == "endpoint" else 4000,
            runtime=720 if job.kind == "endpoint" else 240,
        params:
            model=products.model,
            control=products.block("control"),
            settings=products.run_settings(job.learner),
            job=vars(job),
        script:
            "../scripts/learn.py"


rule left_sum:
    """Algorithm 1 on its literal left-end sum beside the held cost, three steps: why the sum cannot work."""
    input:
        table="<results>/{model}/control_table.safetensors",
        code=modules("left_sum.py"),
    output:
        lists="<results>/{model}/left_sum/lists.csv",
        learning="<results>/{model}/left_sum/learning.csv",
        landscape="<results>/{model}/left_sum/landscape.csv",
    log:
        "<logs>/{model}/left_sum.log",
    benchmark:
        "<benchmarks>/{model}/left_sum.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
    script:
        "../scripts/left_sum.py"
