# Networks and their feature spaces: files fetched, weights trained here or converted.


onstart:
    check_before_start()


rule fetch_asset:
    """One checkpoint, FID reference, file of a data set or the Inception weights, checked by digest;
    broken transfers resume.

    The digest decides whether a file is the right one, so neither code nor mirror is an input."""
    output:
        "<resources>/{group}/{file}",
    log:
        "<logs>/fetch_{group}_{file}.log",
    wildcard_constraints:
        group="edm|fid_refs|inception|mnist",
        file=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    conda:
        "../../envs/cpu.yaml"
    params:
        asset=products.file_asset,
        own=products.own_asset,
    script:
        "../scripts/fetch_asset.py"


rule train_network:
    """The score network by denoising score matching, or the one that ships, and its loss against sigma
    (Table 4).

    A killed job continues from its last checkpoint when it is started again."""
    input:
        data=products.data,
        shipped=products.shipped_network,
        code=modules("train_network.py"),
    output:
        weights="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
        losses="<results>/{model}/network_losses.json",
    log:
        "<logs>/{model}/train_network.log",
    benchmark:
        "<benchmarks>/{model}/train_network.tsv"
    wildcard_constraints:
        model=pattern(targets.with_network("train")),
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
    script:
        "../scripts/train_network.py"


rule convert_network:
    """A snapshot pickle as safetensors and JSON, read without executing anything it holds."""
    input:
        snapshot=products.model_asset("checkpoint"),
        code=modules("convert_network.py"),
    output:
        weights="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
    log:
        "<logs>/{model}/convert_network.log",
    benchmark:
        "<benchmarks>/{model}/convert_network.tsv"
    wildcard_constraints:
        model=pattern(targets.with_network("convert")),
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/convert_network.py"


rule train_features:
    """The classifier whose penultimate layer is the feature space of LeNet-FID, the training set's moments
    in it, and the floor of FID (Table 4)."""
    input:
        data=products.data,
        code=modules("train_features.py"),
    output:
        weights="<results>/{model}/lenet.safetensors",
        facts="<results>/{model}/lenet.json",
        train="<results>/{model}/moments_train.npz",
        floor="<results>/{model}/floor.json",
    log:
        "<logs>/{model}/train_features.log",
    benchmark:
        "<benchmarks>/{model}/train_features.tsv"
    wildcard_constraints:
        model=pattern(targets.with_features("train")),
    conda:
        NUMERICS
    resources:
        gpu=products.gpus,
    params:
        model=products.model,
    script:
        "../scripts/train_features.py"


rule check_features:
    """An FID reference has Inception's feature size: asked before anything is sampled."""
    input:
        reference=products.model_asset("reference"),
        code=modules("check_features.py"),
    output:
        facts="<results>/{model}/reference.json",
    log:
        "<logs>/{model}/check_features.log",
    wildcard_constraints:
        model=pattern(targets.with_features("check")),
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    script:
        "../scripts/check_features.py"
