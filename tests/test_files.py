"""Files are written whole or not at all, and refused with one line when damaged."""

import os
import stat

import numpy as np
import pytest

from art_rl.errors import ArtRLError
from art_rl.files import (
    atomic_path,
    digest,
    read_json,
    read_json_lines,
    read_npz,
    sha256_file,
    write_json,
    write_npz,
    write_text,
)


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "value.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["value.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in "ab"}
    assert len(modes) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [1.0, -float("inf")]])
def test_json_refuses_nan_and_infinity_and_writes_nothing(tmp_path, bad):
    with pytest.raises(ArtRLError, match=r"out\.json: not written"):
        write_json(tmp_path / "out.json", {"value": bad})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['{"a": 1', "", '{"a": NaN}', "[Infinity]", "\x00"])
def test_damaged_json_names_the_file(tmp_path, text):
    path = tmp_path / "in.json"
    path.write_text(text)
    with pytest.raises(ArtRLError, match=r"in\.json: not a JSON file"):
        read_json(path)


def test_json_that_is_not_utf8_and_missing_files(tmp_path):
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(ArtRLError, match="not a JSON file"):
        read_json(tmp_path / "latin.json")
    for read in (read_json, read_npz):
        with pytest.raises(ArtRLError, match=r"gone: no such file"):
            read(tmp_path / "gone")


def test_npz_round_trip_and_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    value = np.random.default_rng(0).standard_normal(50)
    write_npz(path, x=value, name=np.array("text"))
    back = read_npz(path)
    assert np.array_equal(back["x"], value) and str(back["name"]) == "text"
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ArtRLError, match=r"a\.npz: not a readable npz"):
            read_npz(path)


def test_npz_never_unpickles(tmp_path):
    path = tmp_path / "pickle.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ArtRLError, match="not a readable npz"):
        read_npz(path)


def test_digests(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the value printed in FIPS 180-2, appendix B.1
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": [2.0], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_json_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ArtRLError, match=r"deep\.json: not a JSON file"):
        read_json(path)


def test_json_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2.5}\n')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2.5}]
    path.write_text('{"a": 1}\n{"a": 2')
    with pytest.raises(ArtRLError, match="not JSON lines"):
        read_json_lines(path)
    with pytest.raises(ArtRLError, match="no such file"):
        read_json_lines(tmp_path / "none.jsonl")
