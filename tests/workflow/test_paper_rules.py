"""The rules of official checkpoints, called directly: conversion, cells, references, PNG export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from paper_mirror import random_state
from PIL import Image
from running import job, rule
from snapshot_writer import write_snapshot

from art_rl.errors import ArtRLError
from art_rl.files import write_json
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import (
    Moments,
    frechet_between,
)
from art_rl.report.tables import read_rows
from art_rl.sampling.cells import measure_seeds
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.kinds.edm import fast_network
from art_rl.sampling.measures import FeatureMoments
from art_rl.sampling.png import PngShard, png_path, write_png
from art_rl.sampling.shards import sample_batches
from art_rl.schedules.schedule import Schedule
from art_rl.settings.sampling import CellSampling, Speed

EDM = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "sampling": {"device": "cpu"}}

# Rules with bad input, called directly.


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


# Images as PNG files.


def test_png_files_are_the_images(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((3, 5, 7), (1, 4, 4)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        path = tmp_path / "a.png"
        write_png(path, image)
        with Image.open(path) as file:
            assert file.mode == {1: "L", 3: "RGB"}[shape[0]]
            pixels = np.asarray(file).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
        assert np.array_equal(pixels, image)
    with pytest.raises(ArtRLError, match=r"uint8 \(1 or 3, H, W\)"):
        write_png(path, np.zeros((2, 4, 4), np.uint8))
    assert png_path("x", 51234) == Path("x/051000/051234.png")


def sample_job(tmp_path, weights, png, batch=2):
    """A job of sample_cells: three seeds from 999 on, two cells."""
    schedules = []
    for name, levels in (("edm", (80.0, 1.0, 0.0)), ("dpm", (80.0, 3.0, 0.0))):
        path = tmp_path / f"schedules/{name}/any/K2.json"
        Schedule(levels, {"method": name}).save(path)
        schedules.append(str(path))
    sampling = {"samples": 333, "shard": 3, "batch": batch, "device": "cpu", "png": png}
    return job(
        input={
            "network": weights,
            "features": [weights],
            "reference": [],
            "schedules": schedules,
            "numerics": [],
        },
        output={"parts": tmp_path / "tiny/shards/euler/block3_0.json"},
        params={
            "model": {**EDM, "sampling": sampling},
            "sampling": sampling,
            "shards": [(3, 0)],
            "cells": [("euler", "edm", 2, 4), ("euler", "dpm", 2, 4)],
            "preview": 0,
        },
        wildcards={"model": "tiny"},
    )


@pytest.fixture
def sampled(monkeypatch):
    """main() of sample_cells with cheap features; the numbers of images each call was given."""
    calls = []

    def extract(x):
        calls.append(len(x))
        return x.flatten(1)[:, :4].float()

    features = Features("fake", 4, "0", extract, torch.device("cpu"))
    monkeypatch.setattr("art_rl.sampling.kinds.edm.inception_features", lambda *_: features)
    return rule("sample_cells.py"), calls


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_png_export_of_a_shard(tmp_path, converted, sampled):
    main, calls = sampled
    main(sample_job(tmp_path, converted, png=False))
    assert sum(calls) == 6 and not (tmp_path / "tiny/png").exists()
    parts = files_of(tmp_path / "tiny/shards")
    # Asked for later: sampled again, the cells stay the same files.
    main(sample_job(tmp_path, converted, png=True))
    assert sum(calls) == 12 and files_of(tmp_path / "tiny/shards") == parts
    folder = tmp_path / "tiny/png/euler/edm_K2"
    assert files_of(folder) == {"000000/000999.png", "001000/001000.png", "001000/001001.png"}
    schedule = Schedule.load(tmp_path / "schedules/edm/any/K2.json")
    denoiser = fast_network(converted, "cpu", Speed())
    (_, a), (_, b) = sample_batches(denoiser, schedule, "euler", [999, 1000, 1001], 2)
    for seed, image in zip((999, 1000, 1001), to_uint8(torch.cat([a, b])), strict=True):
        with Image.open(png_path(folder, seed)) as file:
            assert np.array_equal(np.asarray(file).transpose(2, 0, 1), image.numpy())
    # Once more: nothing is sampled, nothing left over.
    main(sample_job(tmp_path, converted, png=True))
    assert sum(calls) == 12
    assert sorted(
        path.name for path in (tmp_path / "tiny/png/euler").iterdir() if path.is_dir()
    ) == [
        "dpm_K2",
        "edm_K2",
    ]


def test_png_export_resumes_after_a_kill(tmp_path, converted, sampled, monkeypatch):
    main, calls = sampled

    def killed(self, name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PngShard, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            main(sample_job(tmp_path, converted, png=True))
    folder = tmp_path / "tiny/png/euler/edm_K2"
    assert not folder.exists() and sum(calls) == 3  # no image of an unfinished shard in its place
    main(sample_job(tmp_path, converted, png=True))
    assert len(files_of(folder)) == 3 and sum(calls) == 9
    # Another schedule under the same name replaces the images, and the first one does again.
    before = png_path(folder, 999).read_bytes()
    for levels in ((80.0, 20.0, 0.0), (80.0, 1.0, 0.0)):
        work = sample_job(tmp_path, converted, png=True)
        Schedule(levels, {"method": "edm"}).save(work.input.schedules[0])
        main(work)
        assert (png_path(folder, 999).read_bytes() == before) == (levels[1] == 1.0)
    assert sum(calls) == 15


# Experiments.


@pytest.fixture
def converted(tmp_path):
    kwargs, state = random_state(10, seed=0)
    source = write_snapshot(tmp_path / "a.pkl", "EDMPrecond", kwargs, state)
    out = {"weights": tmp_path / "network.safetensors", "facts": tmp_path / "network.json"}
    rule("convert_network.py")(job(input={"snapshot": source}, output=out))
    return out["weights"]


def test_experiment_of_a_checkpoint(converted):
    experiment = build_experiment("m", EDM, converted)
    x, labels = experiment.draw(50, seed=3), experiment.labels(50, seed=3)
    assert x.shape == (50, 3, 32, 32) and x.dtype == torch.float64
    assert (
        labels.shape == (50, 10)
        and (labels.sum(1) == 1).all()
        and len(set(labels.argmax(1).tolist())) > 5
    )
    assert torch.equal(labels, experiment.labels(50, seed=3))
    assert torch.equal(
        fast_network(converted, "cpu", Speed())(x[:2], torch.tensor(1.0), labels[:2]),
        experiment.denoiser(x[:2], torch.tensor(1.0), labels[:2]),
    )


@pytest.mark.parametrize(
    ("speed", "tf32"), [({}, False), ({"dtype": "float32"}, False), ({"dtype": "float16"}, True)]
)
def test_float32_means_no_tf32_either(converted, monkeypatch, speed, tf32):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)
    fast_network(converted, "cpu", Speed(**speed))
    assert torch.backends.cudnn.allow_tf32 == tf32


def test_experiment_without_file_or_gpu(converted):
    with pytest.raises(ArtRLError, match="its converted file is needed"):
        build_experiment("m", EDM)
    if not torch.cuda.is_available():
        with pytest.raises(ArtRLError, match="torch sees no GPU"):
            fast_network(converted, "cuda", Speed())
