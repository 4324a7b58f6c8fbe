"""Official checkpoints as experiments, and the images they sample as PNG files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from paper_mirror import random_state
from PIL import Image
from running import job, rule
from snapshot_writer import write_snapshot

from art_rl.errors import ArtRLError
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import Features
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.kinds.edm import fast_network
from art_rl.sampling.png import PngShard, png_path, write_png
from art_rl.sampling.shards import sample_batches
from art_rl.schedules.schedule import Schedule
from art_rl.settings.sampling import Speed

EDM = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "sampling": {"device": "cpu"}}

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
    with pytest.raises(ArtRLError, match="its network's file is needed"):
        build_experiment("m", EDM)
    if not torch.cuda.is_available():
        with pytest.raises(ArtRLError, match="torch sees no GPU"):
            fast_network(converted, "cuda", Speed())
