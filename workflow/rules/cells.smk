# Cells of every kind of model: reference solutions, samples by shard, and their evaluation.


rule reference:
    """Fine solutions from the noise of one part of the seeds: what RMSE is measured against."""
    input:
        network=products.network,
        features=products.features,
        code=modules("solve_reference.py"),
    output:
        endpoints="<results>/{model}/reference/{part}.npz",
        facts="<results>/{model}/reference/{part}.json",
    log:
        "<logs>/{model}/reference_{part}.log",
    benchmark:
        "<benchmarks>/{model}/reference_{part}.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        sampling=products.sampling,
        shards=products.shards,
        preview=PREVIEW,
    script:
        "../scripts/solve_reference.py"


rule sample:
    """Every method and budget of a solver (of an exact model: of all) on one part of the seeds.

    A killed job continues after its last finished cell (Tables 1 to 6)."""
    input:
        network=products.network,
        network_facts=products.network_facts,
        features=products.features,
        target_facts=products.target_facts,
        reference=products.reference,
        schedules=products.sampled_schedules,
        numerics=products.numerics,
        code=modules("sample_cells.py"),
    output:
        parts="<results>/{model}/shards/{group}/{part}.json",
    log:
        "<logs>/{model}/sample_{group}_{part}.log",
    benchmark:
        "<benchmarks>/{model}/sample_{group}_{part}.tsv"
    conda:
        NUMERICS
    threads: products.threads
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        sampling=products.sampling,
        shards=products.shards,
        cells=products.cells,
        preview=PREVIEW,
    script:
        "../scripts/sample_cells.py"


# One rule per model: the cells files of all its solvers, whatever those are.
for model in targets.used():

    rule:
        name:
            f"evaluate_{model}"
        input:
            parts=products.sampled(model),
            reference=products.references(model, ".json"),
            schedules=products.schedules_of(model),
            network_facts=products.network_facts(at(model)),
            target=products.target(at(model)),
            target_facts=products.target_facts(at(model)),
            code=modules("evaluate_cells.py", model),
        output:
            cells=products.cell_files(model),
            provenance=products.cell_files(model, ".provenance.json"),
            previews=products.previews(model),
        log:
            f"<logs>/{model}/evaluate.log",
        benchmark:
            f"<benchmarks>/{model}/evaluate.tsv"
        conda:
            "../../envs/cpu.yaml"
        threads: products.threads(at(model))
        params:
            name=model,
            model=targets.models[model],
            solvers=targets.solvers(model),
            cells={solver: targets.blocks(model, solver) for solver in targets.solvers(model)},
            pooled=targets.pooled(model),
        script:
            "../scripts/evaluate_cells.py"


rule trust_ablation:
    """Closed forms with |Q| of the network trusted on other ranges: FID and RMSE at a few budgets."""
    input:
        network=products.network,
        features=products.features,
        target=products.target,
        profile="<results>/{model}/profile.npz",
        reference=products.first_block,
        numerics=products.numerics,
        code=modules("ablate_trust.py"),
    output:
        csv=report(
            "<figures>/{name}/{model}_trust.csv",
            caption="../report/trust.rst",
            category="Tables",
            labels={"model": "{model}", "table": "trust ablation", "metric": "all"},
        ),
        md="<figures>/{name}/{model}_trust.md",
    log:
        "<logs>/{model}/{name}_trust_ablation.log",
    benchmark:
        "<benchmarks>/{model}/{name}_trust_ablation.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        sampling=products.sampling,
    script:
        "../scripts/ablate_trust.py"
