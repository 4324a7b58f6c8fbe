# Image models trained here: data, score network, LeNet features; sampling in shards.


rule fetch_mnist:
    """The four files of MNIST, from a mirror or the public addresses, checked by digest (Table 4)."""
    input:
        code=modules("images_fetch.py"),
    output:
        mnist_files(),
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
        data=data_files,
        code=modules("images_train.py"),
    output:
        weights="<results>/{model}/network.safetensors",
        facts="<results>/{model}/network.json",
        losses="<results>/{model}/network_losses.json",
    log:
        "<logs>/{model}/train_score_net.log",
    benchmark:
        "<benchmarks>/{model}/train_score_net.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_train.py"


rule train_lenet:
    """The classifier whose penultimate layer is the feature space of LeNet-FID (Table 4)."""
    input:
        data=data_files,
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
        "../../envs/cpu.yaml"
    params:
        model=lookup("models/{model}", within=config),
    script:
        "../scripts/images_features.py"
