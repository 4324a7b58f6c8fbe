# Image models trained here: data, score network, LeNet features; sampling in shards.


rule fetch_mnist:
    """The four files of MNIST, from a mirror or the public addresses, checked by digest (Table 4)."""
    input:
        code=modules("images_fetch.py"),
    output:
        products.mnist_files(),
    log:
        "<logs>/fetch_mnist.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        mirror=config.get("mirror"),
    script:
        "../scripts/images_fetch.py"


rule train_score_net:
    """The score network by denoising score matching, and its loss against sigma (Table 4).

    A killed job continues from its last checkpoint when it is started again."""
    input:
        data=products.data_files,
        code=modules("images_train.py"),
    output:
        weights="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
        losses="<results>/{model}/network_losses.json",
    log:
        "<logs>/{model}/train_score_net.log",
    benchmark:
        "<benchmarks>/{model}/train_score_net.tsv"
    wildcard_constraints:
        model=IMAGE,
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_train.py"


rule train_lenet:
    """The classifier whose penultimate layer is the feature space of LeNet-FID (Table 4)."""
    input:
        data=products.data_files,
        code=modules("images_features.py"),
    output:
        weights="<results>/{model}/lenet.safetensors",
        facts="<results>/{model}/lenet.json",
        train="<results>/{model}/moments_train.npz",
        floor="<results>/{model}/floor.json",
    log:
        "<logs>/{model}/train_lenet.log",
    benchmark:
        "<benchmarks>/{model}/train_lenet.tsv"
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_features.py"


rule reference_endpoints:
    """Fine solutions from the noise of one shard of seeds: what RMSE is measured against (Table 4)."""
    input:
        network="<results>/{model}/network.safetensors",
        code=modules("images_reference.py"),
    output:
        endpoints="<results>/{model}/reference/block{block}_{shard}.npz",
        facts="<results>/{model}/reference/block{block}_{shard}.json",
    log:
        "<logs>/{model}/reference_{block}_{shard}.log",
    benchmark:
        "<benchmarks>/{model}/reference_{block}_{shard}.tsv"
    wildcard_constraints:
        model=IMAGE,
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_reference.py"


rule sample_shard:
    """Every method and budget of one solver on one shard of seeds: feature moments, endpoint errors.

    A killed job continues after its last finished cell (Table 4 and its siblings)."""
    input:
        network="<results>/{model}/network.safetensors",
        lenet="<results>/{model}/lenet.safetensors",
        endpoints="<results>/{model}/reference/block{block}_{shard}.npz",
        schedules=products.cell_schedules,
        numerics=SAMPLING_NUMERICS,
        code=modules("images_sample.py"),
    output:
        parts="<results>/{model}/shards/{solver}/block{block}_{shard}.npz",
    log:
        "<logs>/{model}/sample_{solver}_{block}_{shard}.log",
    benchmark:
        "<benchmarks>/{model}/sample_{solver}_{block}_{shard}.tsv"
    wildcard_constraints:
        model=IMAGE,
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
        preview=PREVIEW,
    script:
        "../scripts/images_sample.py"


rule evaluate_images:
    """LeNet-FID and endpoint RMSE of every method, budget and seed block with one solver (Table 4)."""
    input:
        parts=products.shards("<results>/{model}/shards/{solver}/block{block}_{shard}.npz"),
        endpoints=products.shards("<results>/{model}/reference/block{block}_{shard}.npz"),
        reference_facts=products.shards("<results>/{model}/reference/block{block}_{shard}.json"),
        schedules=products.cell_schedules,
        network_facts="<results>/{model}/network.json",
        lenet="<results>/{model}/lenet.safetensors",
        train="<results>/{model}/moments_train.npz",
        floor="<results>/{model}/floor.json",
        code=modules("images_cells.py"),
    output:
        cells="<results>/{model}/cells/{solver}.csv",
        provenance="<results>/{model}/cells/{solver}.provenance.json",
        previews="<results>/{model}/cells/{solver}_previews.npz",
    log:
        "<logs>/{model}/evaluate_{solver}.log",
    benchmark:
        "<benchmarks>/{model}/evaluate_{solver}.tsv"
    wildcard_constraints:
        model=IMAGE,
    conda:
        NUMERICS
    params:
        model=lookup("models/{model}", within=config),
        sampling=lookup("models/{model}/sampling", within=config),
    script:
        "../scripts/images_cells.py"


rule transfer_budget:
    """The learned schedule of one K, resampled to the other budgets (Table 5)."""
    input:
        schedule=products.budget_source,
        code=modules("images_transfer.py"),
    output:
        products.carried("transfer_budget"),
    log:
        "<logs>/{model}/transfer_budget_{solver}.log",
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/images_transfer.py"


rule transfer_data:
    """Schedules learned on another data set, as they are (Table 6)."""
    input:
        schedule=products.data_source,
        code=modules("images_transfer.py"),
    output:
        products.carried("transfer_data"),
    log:
        "<logs>/{model}/transfer_data_{solver}.log",
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/images_transfer.py"


rule export_schedules:
    """Closed-form and learned schedules beside the figures, for use elsewhere and for Table 6."""
    input:
        products.exported_sources,
    output:
        products.exported_files(),
    log:
        "<logs>/export_schedules.log",
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/images_export.py"


rule compare_methods:
    """ART-RL against every hand-made schedule at equal NFE: wins, ties, losses."""
    input:
        cells=products.cells(),
        code=modules("images_compare.py"),
    output:
        csv="<figures>/{name}/{model}_wins.csv",
        md="<figures>/{name}/{model}_wins.md",
    log:
        "<logs>/{model}/{name}_compare_methods.log",
    wildcard_constraints:
        model=IMAGE,
    conda:
        "../../envs/plots.yaml"
    script:
        "../scripts/images_compare.py"


rule trust_ablation:
    """Closed forms with |Q| of the network trusted on other ranges: FID and RMSE at a few budgets."""
    input:
        network="<results>/{model}/network.safetensors",
        lenet="<results>/{model}/lenet.safetensors",
        profile="<results>/{model}/profile.npz",
        train="<results>/{model}/moments_train.npz",
        endpoints=products.shards("<results>/{model}/reference/block{block}_{shard}.npz", blocks=1),
        numerics=SAMPLING_NUMERICS,
        code=modules("images_trust.py"),
    output:
        csv="<figures>/{name}/{model}_trust.csv",
        md="<figures>/{name}/{model}_trust.md",
    log:
        "<logs>/{model}/{name}_trust_ablation.log",
    benchmark:
        "<benchmarks>/{model}/{name}_trust_ablation.tsv"
    wildcard_constraints:
        model=IMAGE,
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_trust.py"


# Both kinds of models have figures of the same names.
ruleorder: image_figures > plot_schedules
ruleorder: image_figures > plot_profile
ruleorder: image_figures > plot_theta
ruleorder: image_figures > plot_learning


rule image_figures:
    """All figures of an image model: errors against NFE, schedules, samples, |Q|, learning."""
    input:
        cells=products.cells(),
        provenance=products.cells(".provenance.json"),
        previews=products.cells("_previews.npz"),
        schedules=products.model_schedules,
        profile="<results>/{model}/profile.npz",
        optimum="<results>/{model}/closed_form_clock.csv",
        losses="<results>/{model}/network_losses.json",
        clocks=products.clock_files("metrics.jsonl"),
        reports=products.clock_files("result.json"),
        thetas=products.clock_files("theta.csv"),
        endpoint=products.endpoint_metrics,
        code=modules("images_figures.py"),
    output:
        pdf=expand("<figures>/{{name}}/{{model}}_{kind}.pdf", kind=IMAGE_FIGURES),
        png=report(
            expand("<figures>/{{name}}/{{model}}_{kind}.png", kind=IMAGE_FIGURES),
            caption="../report/image_figures.rst",
            category="Figures",
            labels={"model": "{model}", "figure": "image model"},
        ),
    log:
        "<logs>/{model}/{name}_figures.log",
    wildcard_constraints:
        model=IMAGE,
    conda:
        "../../envs/cpu.yaml"
    params:
        budgets=products.figure_budgets,
    script:
        "../scripts/images_figures.py"
