"""What scripts of image rules share: their data set, thread number and device."""

from pathlib import Path

import torch

from art_rl.denoisers.device import check_device
from art_rl.training.datasets import load_data


def image_data(snakemake):
    """The data set of the rule's model; torch is held to the rule's threads first."""
    torch.set_num_threads(snakemake.threads)
    files = snakemake.input.get("data", [])
    files = [files] if isinstance(files, str) else list(files)
    return load_data(snakemake.params.model["data"], Path(files[0]).parent if files else None)


def device_of(snakemake):
    """The device of the rule's model; a GPU must be there, and computes without TF32 as a CPU would."""
    device = snakemake.params.model["sampling"]["device"]
    check_device(device)
    return device


def image_experiment(snakemake, build_experiment):
    """The experiment of the rule's image model, its network read; torch held to the rule's threads.

    The builder is handed over by the script, so that the script's imports show what it depends on.
    """
    torch.set_num_threads(snakemake.threads)
    return build_experiment(
        snakemake.wildcards.model, snakemake.params.model, snakemake.input.network
    )
