"""Tensors with a header in one file: a changed bit is noticed, wherever it is."""

import pytest
import torch

from art_rl.denoisers.tensors import read_tensors, write_tensors
from art_rl.errors import ArtRLError

TENSORS = {
    "theta": torch.linspace(0, 1, 5, dtype=torch.float64),
    "count": torch.tensor(3),
    "half": torch.ones(2, 2, dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "shared": torch.linspace(0, 1, 5, dtype=torch.float64)[1:],
}
HEAD = {"format": "art_rl.test", "iteration": 7}


def test_round_trip_and_the_same_bytes_each_time(tmp_path):
    for name in "ab":
        write_tensors(tmp_path / name, TENSORS, HEAD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tensors, head = read_tensors(tmp_path / "a", "art_rl.test")
    assert head == HEAD and tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype


def test_every_changed_bit_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, TENSORS, HEAD)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        if whole[place : place + 1].isspace():
            continue  # padding of the header says nothing
        path.write_bytes(damaged)
        with pytest.raises(ArtRLError, match=r"checkpoint\.safetensors: "):
            read_tensors(path, "art_rl.test")


def test_a_file_without_a_digest_or_header_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    for metadata in (
        None,
        {"json": '{"format": "art_rl.test"}'},
        {"json": "[]"},
        {"json": "0 null"},
    ):
        save_file({"a": torch.ones(1)}, path, metadata=metadata)
        with pytest.raises(
            ArtRLError, match=r"x\.safetensors: format must be 'art_rl.test', got None"
        ):
            read_tensors(path, "art_rl.test")
    save_file({"a": torch.ones(1)}, path, metadata={"json": '0 {"format": "art_rl.test"}'})
    with pytest.raises(ArtRLError, match="does not fit its digest: damaged; delete it"):
        read_tensors(path, "art_rl.test")
