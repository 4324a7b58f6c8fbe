"""Data sets: ranges, fixed splits, and an idx reader that refuses what does not fit."""

import gzip
import struct

import numpy as np
import pytest
import torch

from art_rl.errors import ArtRLError
from art_rl.flow.seeds import to_uint8
from art_rl.training.datasets import (
    MNIST_FILES,
    load_data,
    load_digits_data,
    load_mnist_data,
    read_idx,
)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder, n_train=5, n_test=3, labels_train=None):
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (n_train, 28, 28), np.uint8),
        "train_labels": np.arange(
            n_train if labels_train is None else labels_train, dtype=np.uint8
        ),
        "test_images": rng.integers(0, 256, (n_test, 28, 28), np.uint8),
        "test_labels": np.arange(n_test, dtype=np.uint8),
    }
    for key, name in MNIST_FILES.items():
        (folder / name).write_bytes(gzip.compress(idx(arrays[key])))
    return arrays


def test_digits_split_and_range():
    from sklearn.datasets import load_digits

    data = load_digits_data()
    assert data.train.shape == (1500, 1, 8, 8) and data.test.shape == (297, 1, 8, 8)
    assert data.train.dtype == torch.float32 and data.train_labels.dtype == torch.int64
    assert data.shape == (1, 8, 8)
    assert data.train.min() == -1 and data.train.max() == 1
    # Every image of the source occurs once, in one of the two parts, with its own label.
    source, labels = load_digits(return_X_y=True)
    rows = {tuple(row): label for row, label in zip(source, labels, strict=True)}
    both = torch.cat([data.train, data.test]).flatten(1).numpy()
    ours = [tuple(row) for row in (both + 1) * 8]
    assert sorted(ours) == sorted(map(tuple, source))
    given = torch.cat([data.train_labels, data.test_labels]).tolist()
    assert all(rows[row] == label for row, label in zip(ours, given, strict=True))
    assert torch.equal(load_digits_data().test, data.test)
    assert data.sigma_data == pytest.approx(float(data.train.double().std()), rel=1e-12)
    assert set(data.test_labels.tolist()) == set(range(10))


def test_mnist_from_files(tmp_path):
    arrays = write_mnist(tmp_path)
    data = load_data("mnist", tmp_path)
    assert data.train.shape == (5, 1, 32, 32) and data.test.shape == (3, 1, 32, 32)
    inner = data.train[:, 0, 2:30, 2:30].double()
    want = torch.from_numpy(arrays["train_images"].astype(np.float64)) / 127.5 - 1
    assert torch.allclose(inner, want, atol=1e-7, rtol=0)
    frame = data.train.clone()
    frame[:, :, 2:30, 2:30] = -1
    assert (frame == -1).all()
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4]
    # The official conversion gives the file's bytes back.
    assert (to_uint8(data.train)[:, 0, 2:30, 2:30].numpy() == arrays["train_images"]).all()


def test_plain_idx_file(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(idx(array))
    assert (read_idx(tmp_path / "x", 3) == array).all()


@pytest.mark.parametrize(
    "fault, phrase",
    [
        (lambda b: b[:9], "too short for an idx header"),
        (lambda b: b"\x00\x00\x0d" + b[3:], "magic must be 00000803"),
        (lambda b: b[:3] + b"\x01" + b[4:], "magic must be 00000803"),
        (lambda b: b[:-1], "fewer"),
        (lambda b: b + b"\x00", "more"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "header claims"),
        (lambda b: b"", "too short"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_idx_files(tmp_path, fault, phrase, packed):
    content = fault(idx(np.zeros((2, 3, 4), np.uint8)))
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ArtRLError, match=phrase):
        read_idx(path, 3)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "x.gz"
    good = gzip.compress(idx(np.zeros((50, 3, 4), np.uint8)))
    path.write_bytes(good[:-9])
    with pytest.raises(ArtRLError, match="damaged or truncated"):
        read_idx(path, 3)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ArtRLError, match="damaged or truncated"):
        read_idx(path, 3)
    with pytest.raises(ArtRLError, match="no such file"):
        read_idx(tmp_path / "none.gz", 3)


def test_mnist_files_that_do_not_belong_together(tmp_path):
    write_mnist(tmp_path, labels_train=4)
    with pytest.raises(ArtRLError, match="5 train images but 4 labels"):
        load_mnist_data(tmp_path)
    write_mnist(tmp_path)
    path = tmp_path / MNIST_FILES["test_labels"]
    path.write_bytes(gzip.compress(idx(np.array([1, 2, 10], np.uint8))))
    with pytest.raises(ArtRLError, match=r"test labels must be 0\.\.9, found 10"):
        load_mnist_data(tmp_path)
    path = tmp_path / MNIST_FILES["train_images"]
    path.write_bytes(gzip.compress(idx(np.zeros((5, 32, 32), np.uint8))))
    with pytest.raises(ArtRLError, match="must be 28x28"):
        load_mnist_data(tmp_path)


def test_unknown_data_set():
    with pytest.raises(ArtRLError, match="unknown data set 'cifar'"):
        load_data("cifar")
    with pytest.raises(ArtRLError, match="needs the folder"):
        load_data("mnist")


def test_real_mnist(test_data):
    data = load_mnist_data(test_data("mirror/mnist"))
    assert data.train.shape == (60000, 1, 32, 32) and data.test.shape == (10000, 1, 32, 32)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
