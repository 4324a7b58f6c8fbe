"""LeNet, its accuracy, the training set's moments and the floor of LeNet-FID; feeds every FID table."""

from pathlib import Path

import torch
from rule_job import run

from art_rl.denoisers.device import check_device
from art_rl.files import write_json
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import frechet_between
from art_rl.metrics.lenet import accuracy, save_lenet, train_lenet
from art_rl.settings.networks import LeNetSettings
from art_rl.training.datasets import load_data


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    model_settings, files = snakemake.params.model, snakemake.input.data
    data = load_data(model_settings["data"], Path(files[0]).parent if files else None)
    device = model_settings["sampling"]["device"]
    check_device(device)
    settings = LeNetSettings(**model_settings.get("features", {}))
    model = train_lenet(data.train, data.train_labels, settings, device=device)
    right = accuracy(model, data.test, data.test_labels)
    save_lenet(snakemake.output.weights, model, right, settings)
    features = lenet_features(model, device)
    train, test = features.moments(data.train), features.moments(data.test)
    train.save(snakemake.output.train)
    floor = frechet_between(train, test)
    write_json(
        snakemake.output.floor,
        {
            "lenet_digest": model.digest,
            "lenet_accuracy": right,
            "fid_test_against_train": floor,
            "train_images": len(data.train),
            "test_images": len(data.test),
        },
    )


run(main, snakemake)  # noqa: F821
