"""LeNet and Inception features, and torch-fidelity running on ours."""

import json
import pickle

import numpy as np
import pytest
import torch
from paper_mirror import write_inception

from art_rl.errors import ArtRLError
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import inception_features, lenet_features
from art_rl.metrics.fidelity_compat import import_torch_fidelity, safe_weight_loading
from art_rl.metrics.frechet import frechet_between
from art_rl.metrics.lenet import (
    LeNet,
    LeNetSettings,
    _shifted,
    accuracy,
    load_lenet,
    save_lenet,
    train_lenet,
)
from art_rl.training.datasets import load_digits_data


@pytest.fixture(scope="module")
def digits():
    return load_digits_data()


@pytest.fixture(scope="module")
def lenet(digits):
    return train_lenet(digits.train, digits.train_labels, LeNetSettings(epochs=6), progress=False)


def test_lenet_learns_digits_and_repeats(digits, lenet):
    # Six of the default 15 epochs give 0.963; chance is 0.1.
    assert accuracy(lenet, digits.test, digits.test_labels) > 0.93
    short = LeNetSettings(epochs=1)
    few, labels = digits.train[:200], digits.train_labels[:200]
    one, two = (train_lenet(few, labels, short, progress=False) for _ in range(2))
    assert one.digest == two.digest


WRONG_UNITS = [
    (lambda x: ((x + 1) * 127.5).long(), r"float in \[-1, 1\], got torch.int64; pixels"),
    (lambda x: (x + 1) * 127.5, r"in \[-1, 1\], got values from 0 to 255; pixels in 0..255"),
    (lambda x: to_uint8(x), r"float in \[-1, 1\], got torch.uint8; pixels"),
]


@pytest.mark.parametrize("change, phrase", WRONG_UNITS, ids=["int64", "floats to 255", "uint8"])
def test_images_in_other_units_are_refused(digits, lenet, change, phrase):
    # Before: accuracy 0.14 instead of 0.96, FID 175 instead of 2.
    images, labels = change(digits.test), digits.test_labels
    with pytest.raises(ArtRLError, match=phrase):
        accuracy(lenet, images, labels)
    with pytest.raises(ArtRLError, match=phrase):
        train_lenet(images, labels, LeNetSettings(epochs=1), progress=False)
    features = lenet_features(lenet)
    if images.dtype == torch.uint8:
        assert features.moments(images).n == len(images)  # these are what features are made of
        return
    with pytest.raises(ArtRLError, match=phrase):
        features.moments(images)


def test_labels_and_shapes_are_checked_where_images_enter(digits, lenet):
    few, labels = digits.test[:20], digits.test_labels[:20]
    faults = [
        (
            few,
            labels.float(),
            r"labels must be class indices, int64 of shape \(20,\); got torch.float32",
        ),
        (few, labels[:19], r"int64 of shape \(20,\); got torch.int64 of shape \(19,\)"),
        (few, labels - 10, "labels must be class indices >= 0, got -10"),
        (few[:, 0], labels, r"images must be \(N, C, H, W\), N >= 1; got \(20, 8, 8\)"),
        (few[:0], labels[:0], "N >= 1"),
        (few / 0, labels, "images must be finite"),
    ]
    for images, indices, phrase in faults:
        with pytest.raises(ArtRLError, match=phrase):
            accuracy(lenet, images, indices)
        with pytest.raises(ArtRLError, match=phrase):
            train_lenet(images, indices, LeNetSettings(epochs=1), progress=False)
    with pytest.raises(ArtRLError, match=r"images must be \(N, C, H, W\)"):
        lenet_features(lenet).moments(few[0, 0])


def test_lenet_for_32x32():
    model = LeNet(32)
    images = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    assert model.features(images).shape == (2, 84) and model(images).shape == (2, 10)
    with pytest.raises(ArtRLError, match="size 8 or 32, got 16"):
        LeNet(16)
    assert LeNetSettings().resolved(32).epochs == 4 and LeNetSettings().resolved(8).epochs == 15
    assert LeNetSettings(epochs=2).resolved(8) == LeNetSettings(epochs=2, batch_size=32)


@pytest.mark.parametrize(
    "options, phrase",
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"batch_size": "32"}, "batch_size must be a whole number, got '32'"),
        ({"shift": -1}, "shift must be at least 0, got -1"),
        ({"shift": None}, "shift must be a whole number, got None"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
        ({"learning_rate": "3e-3"}, "learning_rate must be a number, got '3e-3'"),
    ],
)
def test_bad_lenet_settings(options, phrase):
    with pytest.raises(ArtRLError, match=phrase):
        LeNetSettings(**options)


def test_shift_moves_each_image_and_fills_with_black():
    images = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 4, 4] = 9
    moved = _shifted(images, 1, torch.Generator().manual_seed(0))
    assert (moved.flatten(1).sum(1) == 9).all()
    places = {tuple(p) for p in torch.nonzero(moved[:, 0])[:, 1:].tolist()}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}
    assert torch.equal(_shifted(images, 0, torch.Generator()), images)


def test_lenet_files(tmp_path, lenet, digits):
    path = tmp_path / "lenet.safetensors"
    digest = save_lenet(path, lenet, 0.97, LeNetSettings())
    loaded = load_lenet(path)
    assert loaded.digest == digest == lenet.digest
    pixels = to_uint8(digits.test)
    assert torch.equal(loaded.features(pixels), lenet.features(pixels))
    header = json.loads((tmp_path / "lenet.json").read_text())
    assert header["test_accuracy"] == 0.97
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(ArtRLError, match="damaged"):
        load_lenet(path)
    path.write_bytes(good[:-2] + bytes([good[-2] ^ 1, good[-1]]))
    with pytest.raises(ArtRLError, match="its JSON says"):
        load_lenet(path)
    (tmp_path / "lenet.json").unlink()
    with pytest.raises(ArtRLError, match="no such file"):
        load_lenet(path)


def test_features_refuse_other_input(lenet):
    features = lenet_features(lenet)
    with pytest.raises(ArtRLError, match="uint8 images"):
        features(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ArtRLError, match=r"\(B, 1, 8, 8\)"):
        features(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))


def test_moments_do_not_depend_on_batches_and_convert(lenet, digits):
    features = lenet_features(lenet)
    one = features.moments(digits.test, batch_size=297)
    two = features.moments(to_uint8(digits.test), batch_size=50)
    assert one.n == two.n == 297 and one.dim == 84
    # float32 network kernels round differently per batch size: 1e-6 relative, not more.
    np.testing.assert_allclose(one.total, two.total, rtol=1e-5, atol=1e-4)


class Pixels(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = to_uint8(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def register(fidelity, lenet):
    """Make LeNet known to torch-fidelity; returns the name to pass as ``feature_extractor``."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class LeNetExtractor(FeatureExtractorBase):
        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)
            self.lenet = lenet

        @staticmethod
        def get_provided_features_list():
            return ("84",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "84"

        @staticmethod
        def can_be_compiled():
            return False

        @staticmethod
        def get_dummy_input_for_compile():
            return torch.zeros(1, 1, 32, 32, dtype=torch.uint8)

        def forward(self, images):
            return (self.lenet.features(images),)

    fidelity.register_feature_extractor("art-rl-lenet", LeNetExtractor)
    return "art-rl-lenet"


def test_torch_fidelity_agrees(lenet, digits):
    fidelity = import_torch_fidelity()
    first, second = digits.train[:400], digits.test
    result = fidelity.calculate_metrics(
        input1=Pixels(first),
        input2=Pixels(second),
        feature_extractor=register(fidelity, lenet),
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
        batch_size=100,
    )
    features = lenet_features(lenet)
    ours = frechet_between(features.moments(first), features.moments(second))
    # torch-fidelity forms float64 covariances of float32 features; some of the 84 never fire, so its
    # square root of a non-symmetric singular product costs digits.
    assert ours > 0.1
    assert result["frechet_inception_distance"] == pytest.approx(ours, rel=1e-4)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Stand-in weights with the right names and shapes."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    write_inception(path)
    return path


def test_inception_features_stream(inception_file):
    features = inception_features(inception_file)
    assert features.dim == 2048 and len(features.digest) == 64
    rng = np.random.default_rng(0)
    grey = torch.from_numpy(rng.integers(0, 256, (2, 1, 16, 16), np.uint8))
    out = features(grey)
    assert out.shape == (2, 2048) and out.dtype == torch.float64
    assert torch.isfinite(out).all() and (out[0] - out[1]).abs().max() > 1e-3
    # Grey is the same picture in three channels; moments see the same features.
    moments = features.moments(grey.expand(-1, 3, -1, -1), batch_size=2)
    np.testing.assert_allclose(moments.total, out.sum(0).numpy(), rtol=1e-6, atol=1e-9)


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_hostile_or_wrong_inception_file(tmp_path):
    marker = tmp_path / "executed"
    hostile = tmp_path / "hostile.pth"
    torch.save({"fc.bias": Hostile(marker)}, hostile)
    with pytest.raises(ArtRLError, match="not usable as Inception weights"):
        inception_features(hostile)
    assert not marker.exists()
    with pytest.raises((pickle.UnpicklingError, RuntimeError)), safe_weight_loading():
        torch.load(hostile, weights_only=None)
    assert not marker.exists()
    wrong = tmp_path / "wrong.pth"
    torch.save({"fc.bias": torch.zeros(7)}, wrong)
    with pytest.raises(ArtRLError, match="Missing key"):
        inception_features(wrong)
    with pytest.raises(ArtRLError, match="fetch asset 'inception-v3' first"):
        inception_features(tmp_path / "none.pth")
