"""The score network, trained here or the one that ships, and its loss against sigma; feeds every cell."""

from pathlib import Path

import numpy as np
import torch
from rule_job import resumable, run

from art_rl.denoisers.device import check_device
from art_rl.denoisers.unet import save_model
from art_rl.files import write_json
from art_rl.flow.seeds import one_hot
from art_rl.records import versions
from art_rl.settings.networks import TrainSettings, UNetConfig
from art_rl.training.datasets import load_data
from art_rl.training.score import loss_by_sigma, shipped_network, train

# Images of each split, and noise levels, of the loss against sigma.
IMAGES, LEVELS = 300, 16


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    settings, files = snakemake.params.model, snakemake.input.data
    data = load_data(settings["data"], Path(files[0]).parent if files else None)
    device = settings["sampling"]["device"]
    check_device(device)
    training = TrainSettings(**settings["training"])
    labels, held_out, label_dim = None, None, 0
    if settings["conditional"]:
        label_dim = data.classes
        labels, held_out = (one_hot(y, label_dim) for y in (data.train_labels, data.test_labels))
    config = UNetConfig(shape=data.shape, label_dim=label_dim, **settings["network"])
    if snakemake.input.shipped:
        weights = snakemake.input.shipped[0]
        model, record = shipped_network(weights, config, training, settings["data"], device)
    else:
        with resumable(snakemake) as state:
            model, record = train(
                data.train,
                config,
                training,
                data.sigma_data,
                labels,
                state_dir=state,
                device=device,
            )
    sigmas = np.geomspace(settings["sigma_min"], settings["sigma_max"], LEVELS)
    parts = {"train": (data.train, labels), "held_out": (data.test, held_out)}
    losses = {
        name: loss_by_sigma(
            model, images[:IMAGES], sigmas, None if its_labels is None else its_labels[:IMAGES]
        )
        for name, (images, its_labels) in parts.items()
    }
    curve = record.pop("loss")
    write_json(
        snakemake.output.losses,
        {
            "training": curve,
            "training_every": record.get("loss_every", 1),
            "batch_size": training.batch_size,
            "sigma": sigmas.tolist(),
            "by_sigma": {name: loss[:, 0].tolist() for name, loss in losses.items()},
            "standard_error": {name: loss[:, 1].tolist() for name, loss in losses.items()},
            "images": IMAGES,
            "trained_noise": [training.P_mean, training.P_std],
        },
    )
    save_model(
        snakemake.output.weights,
        model,
        {"device": device, "versions": versions(), **record, "data": settings["data"]},
    )


run(main, snakemake)  # noqa: F821
