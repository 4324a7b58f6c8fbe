# Official EDM checkpoints: fetched, read safely, sampled by seed, scored by FID (Tables 2, 3, 5, 6).


onstart:
    check_before_start()


rule fetch_asset:
    """One checkpoint, FID reference or the Inception weights, checked by digest; broken transfers resume.

    The digest decides whether a file is the right one, so neither code nor mirror is an input."""
    output:
        "<resources>/{group}/{file}",
    log:
        "<logs>/fetch_{group}_{file}.log",
    wildcard_constraints:
        group="edm|fid_refs|inception",
        file=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    conda:
        "../../envs/cpu.yaml"
    params:
        asset=products.file_asset,
        own=products.own_asset,
    script:
        "../scripts/checkpoint_fetch.py"


rule convert_checkpoint:
    """A snapshot pickle as safetensors and JSON, read without executing anything it holds."""
    input:
        snapshot=products.model_asset("checkpoint"),
        code=modules("checkpoint_convert.py"),
    output:
        weights="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
    log:
        "<logs>/{model}/convert_checkpoint.log",
    benchmark:
        "<benchmarks>/{model}/convert_checkpoint.tsv"
    wildcard_constraints:
        model=EDM,
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/checkpoint_convert.py"


rule check_reference:
    """An FID reference has Inception's feature size: asked before anything is sampled."""
    input:
        reference=products.model_asset("reference"),
        code=modules("checkpoint_reference.py"),
    output:
        facts="<results>/{model}/reference.json",
    log:
        "<logs>/{model}/check_reference.log",
    wildcard_constraints:
        model=EDM,
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/checkpoint_reference.py"


rule sample_checkpoint:
    """Every method and budget of one solver on one shard of seeds: moments of Inception features.

    A killed job continues after its last finished cell (Tables 2, 3, 5, 6)."""
    input:
        reference="<results>/{model}/reference.json",
        network="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
        inception=products.model_asset("inception"),
        schedules=products.cell_schedules,
        numerics=CHECKPOINT_NUMERICS,
        code=modules("checkpoint_sample.py"),
    output:
        parts="<results>/{model}/shards/{solver}/block{block}_{shard}.json",
    log:
        "<logs>/{model}/sample_{solver}_{block}_{shard}.log",
    benchmark:
        "<benchmarks>/{model}/sample_{solver}_{block}_{shard}.tsv"
    wildcard_constraints:
        model=EDM,
    conda:
        NUMERICS
    threads: products.checkpoint_threads
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        preview=PREVIEW,
    script:
        "../scripts/checkpoint_sample.py"


rule evaluate_checkpoint:
    """FID of every method, budget and seed block with one solver (Tables 2, 3, 5, 6)."""
    input:
        parts=products.shards("<results>/{model}/shards/{solver}/block{block}_{shard}.json"),
        schedules=products.cell_schedules,
        facts="<results>/{model}/network.json",
        reference=products.model_asset("reference"),
        code=modules("checkpoint_cells.py"),
    output:
        cells="<results>/{model}/cells/{solver}.csv",
        provenance="<results>/{model}/cells/{solver}.provenance.json",
        previews="<results>/{model}/cells/{solver}_previews.npz",
    log:
        "<logs>/{model}/evaluate_{solver}.log",
    benchmark:
        "<benchmarks>/{model}/evaluate_{solver}.tsv"
    wildcard_constraints:
        model=EDM,
    conda:
        "../../envs/cpu.yaml"
    threads: products.checkpoint_threads
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/checkpoint_cells.py"


rule beside_paper:
    """Our FID beside the paper's: minimum over seed blocks, mean, spread, difference."""
    input:
        table="<figures>/{name}/{table}_fid.csv",
        paper=products.from_cwd("src/art_rl/report/paper_tables.json"),
        code=modules("checkpoint_beside_paper.py"),
    output:
        csv=report(
            "<figures>/{name}/{table}_beside_paper.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}", "metric": "FID beside the paper's"},
        ),
        md="<figures>/{name}/{table}_beside_paper.md",
        tex="<figures>/{name}/{table}_beside_paper.tex",
    log:
        "<logs>/tables/{name}_{table}_beside_paper.log",
    conda:
        "../../envs/plots.yaml"
    params:
        table=lookup("tables/{table}", within=config),
    script:
        "../scripts/checkpoint_beside_paper.py"


# One rule per checkpoint: they differ in what there is to draw.
for checkpoint in targets.of_kind("edm"):

    rule:
        name:
            f"figures_{checkpoint}"
        input:
            cells=products.cells(),
            previews=products.cells("_previews.npz"),
            schedules=products.model_schedules,
            profile=[f"<results>/{checkpoint}/profile.npz"] * targets.has_profile(checkpoint),
            clocks=products.clock_files("metrics.jsonl"),
            reports=products.clock_files("result.json"),
            thetas=products.clock_files("theta.csv"),
            optimum=[f"<results>/{checkpoint}/closed_form_clock.csv"]
            * bool(targets.fine_runs(checkpoint)),
            endpoint=products.endpoint_metrics,
            code=modules("checkpoint_figures.py"),
        output:
            expand(
                "<figures>/{{name}}/{{model}}_{kind}.{suffix}",
                kind=products.figure_kinds(checkpoint),
                suffix=["pdf", "png"],
            ),
        log:
            "<logs>/{model}/{name}_figures.log",
        wildcard_constraints:
            model=checkpoint,
        conda:
            "../../envs/plots.yaml"
        message:
            "All figures of {wildcards.model}: FID against NFE, schedules, |Q|, learning, samples."
        script:
            "../scripts/checkpoint_figures.py"
