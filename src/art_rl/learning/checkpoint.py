"""Checkpoints of a run: one safetensors file, so that it is whole or absent.

Holds networks, Adam's moments, the random generator's state, gamma and the iteration; a resumed run
continues with exactly the numbers an uninterrupted one would have drawn.
"""

import os
from pathlib import Path

import torch

from art_rl.learning.learner import Learner
from art_rl.learning.storage import read_tensors, write_tensors

FORMAT = "art_rl.control.checkpoint"


def save_checkpoint(path: str | os.PathLike, learner: Learner, seconds: float) -> None:
    """Write the learner's state atomically."""
    tensors = networks(learner)
    for name, optimizer in learner.optimizers.items():
        tensors |= {f"adam.{name}.{key}": value for key, value in optimizer.state().items()}
    tensors["generator"] = learner.generator.get_state()
    head = {
        "format": FORMAT,
        "config": learner.config.digest,
        "environment": learner.environment.digest,
        "iteration": learner.iteration,
        "gamma": learner.gamma,
        "budget_error": learner.budget_error,
        "seconds": seconds,
    }
    write_tensors(path, tensors, head)


def load_checkpoint(path: str | os.PathLike, learner: Learner) -> float:
    """Restore a learner made with the same settings and environment; returns the seconds so far.

    A checkpoint of other settings or another environment is left alone and 0.0 returned: the run
    starts anew and overwrites it.

    Raises:
        ArtRLError: the file is damaged.
    """
    if not Path(path).exists():
        return 0.0
    tensors, head = read_tensors(path, FORMAT)
    same = (learner.config.digest, learner.environment.digest)
    if (head["config"], head["environment"]) != same:
        return 0.0
    for name in ("actor", "critic"):
        module = getattr(learner, name)
        if module is not None:
            module.load_state_dict(_under(tensors, f"{name}."))
    for name, optimizer in learner.optimizers.items():
        optimizer.restore(_under(tensors, f"adam.{name}."))
    learner.generator.set_state(tensors["generator"])
    learner.iteration = head["iteration"]
    learner.gamma, learner.budget_error = head["gamma"], head["budget_error"]
    return head["seconds"]


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def networks(learner: Learner) -> dict[str, torch.Tensor]:
    """Copies of all parameters, "actor." and "critic."."""
    return {
        f"{name}.{key}": value.detach().clone()
        for name in ("actor", "critic")
        if (module := getattr(learner, name)) is not None
        for key, value in module.state_dict().items()
    }
