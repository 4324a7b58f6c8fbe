"""The rules of official checkpoints, called directly: conversion, cells, references."""

import numpy as np
import pytest
import torch
from paper_mirror import random_state
from running import job, rule
from snapshot_writer import write_snapshot

from art_rl.errors import ArtRLError
from art_rl.files import write_json
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import (
    Moments,
    frechet_between,
)
from art_rl.report.tables import read_rows
from art_rl.sampling.cells import measure_seeds
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.measures import FeatureMoments
from art_rl.schedules.schedule import Schedule
from art_rl.settings.sampling import CellSampling

EDM = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "sampling": {"device": "cpu"}}


def missing_key(state):
    del state["model.map_layer0.weight"]


def wrong_shape(state):
    state["model.map_layer0.weight"] = state["model.map_layer0.weight"][:, :-1].contiguous()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing_key, "the tensor model.map_layer0.weight is missing"),
        (wrong_shape, "model.map_layer0.weight must have shape"),
    ],
)
def test_damaged_checkpoint_leaves_nothing(tmp_path, damage, message):
    kwargs, state = random_state(0, seed=0)
    damage(state)
    source = write_snapshot(tmp_path / "bad.pkl", "EDMPrecond", kwargs, state)
    out = {"weights": tmp_path / "out/net.safetensors", "facts": tmp_path / "out/net.json"}
    with pytest.raises(ArtRLError, match=message) as error:
        rule("convert_network.py")(job(input={"snapshot": source}, output=out))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def cells_job(tmp_path, images=3, dim=4, reference_dim=4):
    """A job of evaluate_cells on one cell of ``images`` images with random features."""
    rng = np.random.default_rng(0)
    schedule = Schedule((80.0, 1.0, 0.0), {"method": "edm"})
    path = tmp_path / "schedules/edm/any/K2.json"
    schedule.save(path)
    features = rng.standard_normal((images, dim))
    position = iter(range(0, images, images))

    def extract(x):
        return torch.from_numpy(features[next(position) :][: len(x)])

    kwargs, state = random_state(0, seed=0)
    snapshot = write_snapshot(tmp_path / "a.pkl", "EDMPrecond", kwargs, state)
    out = {"weights": tmp_path / "network.safetensors", "facts": tmp_path / "network.json"}
    rule("convert_network.py")(job(input={"snapshot": snapshot}, output=out))
    shard = tmp_path / "block0_0.json"
    fake = Features("fake", dim, "0", extract, torch.device("cpu"))
    measures = [FeatureMoments(fake, lambda moments: 0.0, "fake")]
    experiment = build_experiment("m", EDM, out["weights"], sampling=CellSampling(samples=2))
    part = measure_seeds(experiment, schedule, "euler", range(images), measures, images, preview=1)
    part.save(shard.with_suffix(".cells") / "a.npz")
    cell = {"solver": "euler", "method": "edm", "K": 2, "block": 0, "file": "a.npz"}
    write_json(shard, {"features": ["0"], "cells": [cell]})
    other = Moments.of(rng.standard_normal((20, reference_dim)))
    mu, sigma = other.mean_and_covariance()
    np.savez(tmp_path / "reference.npz", mu=mu, sigma=sigma)
    result = job(
        input={
            "parts": [str(shard)],
            "reference": [],
            "schedules": [str(path)],
            "network_facts": [out["facts"]],
            "target": [tmp_path / "reference.npz"],
            "target_facts": [],
        },
        output={
            "cells": [tmp_path / "out/euler.csv"],
            "provenance": [tmp_path / "out/euler.json"],
            "previews": [tmp_path / "out/euler_previews.npz"],
        },
        params={
            "name": "m",
            "model": EDM,
            "solvers": ["euler"],
            "cells": {"euler": [("edm", 2, 1)]},
            "pooled": False,
        },
    )
    return result, Moments.of(features), other


def test_cells_of_a_shard(tmp_path):
    work, ours, other = cells_job(tmp_path)
    rule("evaluate_cells.py")(work)
    (row,) = read_rows(work.output.cells[0])
    assert row["fid"] == pytest.approx(frechet_between(ours, other), rel=1e-6) and row["nfe"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_dim": 5}, "the reference has feature size 5, the images 4"),
        ({"images": 1}, "needs at least 2 images, got 1"),
    ],
)
def test_cells_with_bad_input_leave_nothing(tmp_path, change, message):
    work, *_ = cells_job(tmp_path, **change)
    with pytest.raises(ArtRLError, match=message):
        rule("evaluate_cells.py")(work)
    assert not (tmp_path / "out").exists()


def test_lost_cell_says_what_to_do(tmp_path):
    work, *_ = cells_job(tmp_path)
    next((tmp_path / "block0_0.cells").iterdir()).unlink()
    with pytest.raises(
        ArtRLError, match=r"no such file; delete .*block0_0.json to sample it again"
    ):
        rule("evaluate_cells.py")(work)


# References.


@pytest.mark.parametrize("size", [2047, 4])
def test_reference_of_another_size_is_refused(tmp_path, size):
    np.savez(tmp_path / "bad.npz", mu=np.zeros(size), sigma=np.eye(size))
    work = job(
        input={"reference": tmp_path / "bad.npz"}, output={"facts": tmp_path / "out/reference.json"}
    )
    with pytest.raises(ArtRLError, match=f"feature size {size}, Inception's features have 2048"):
        rule("check_features.py")(work)
    assert not (tmp_path / "out").exists()
