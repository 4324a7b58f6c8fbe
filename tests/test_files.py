"""Files are written whole or not at all, and refused with one line when damaged."""

import json
import os
import pickle
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from art_rl.errors import ArtRLError
from art_rl.files import (
    atomic_path,
    check_seal,
    digest,
    exclusive,
    fault_of_file,
    json_like,
    read_json,
    read_json_lines,
    read_npz,
    remove_leftovers,
    seal,
    sha256_file,
    state_folder,
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


@pytest.mark.parametrize(
    "text, key", [('{"a": 1, "a": 2}', "a"), ('[{"b": {"c": 1, "d": 2, "c": 1}}]', "c")]
)
def test_a_key_given_twice_is_refused(tmp_path, text, key):
    for name, read in (("in.json", read_json), ("in.jsonl", read_json_lines)):
        (tmp_path / name).write_text(text)
        with pytest.raises(ArtRLError, match=rf"{name}: not .*: the key '{key}' is given 2 times$"):
            read(tmp_path / name)


def test_numpy_values_become_plain_ones_and_the_rest_is_named(tmp_path):
    value = {"a": np.float64(0.1), "b": [np.int64(3), np.bool_(True)], "c": np.eye(2), 4: (1, None)}
    write_json(tmp_path / "v.json", value)
    back = read_json(tmp_path / "v.json")
    assert back == {"a": 0.1, "b": [3, True], "c": [[1.0, 0.0], [0.0, 1.0]], "4": [1, None]}
    assert type(json_like(np.float64(0.1))) is float and type(json_like(np.float32(0.5))) is float
    for bad, phrase in (
        ({"a": [0, {1}]}, r"value\.a\[1\] must be JSON-like .*, got set"),
        ({"a": {None: 1}}, r"value\.a: keys must be text, got None"),
        (1j, "value must be JSON-like .*, got complex"),
    ):
        with pytest.raises(ArtRLError, match=rf"w\.json: not written, {phrase}"):
            write_json(tmp_path / "w.json", bad)
    assert not (tmp_path / "w.json").exists()


def test_every_changed_character_of_a_json_object_is_noticed(tmp_path):
    path = tmp_path / "v.json"
    value = {"sigmas": [80.0, 1.25e-3, 0.0], "name": "edm", "inner": {"on": True}}
    write_json(path, value)
    whole = path.read_text()
    assert read_json(path) == value
    assert json.loads(whole)["content_sha256"] == digest(value)
    for place, old in enumerate(whole.rstrip("\n")):
        if old.isspace():
            continue
        new = "7" if old != "7" else "3"
        path.write_text(whole[:place] + new + whole[place + 1 :])
        # In the name of the digest's key: then it is another object, with a key too many.
        if "content_sha256" in path.read_text():
            with pytest.raises(ArtRLError, match=r"v\.json: "):
                read_json(path)
        else:
            assert read_json(path).keys() != value.keys()
    path.write_text(json.dumps(value))  # typed by hand
    assert read_json(path) == value
    write_json(path, {**value, "content_sha256": "stale"})
    assert read_json(path) == value


def test_a_table_that_does_not_fit_the_digest_beside_it(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("a,b\n1,2\n")
    check_seal(path)  # none is there
    seal(path)
    check_seal(path)
    assert (tmp_path / "cells.csv.sha256").read_text() == f"{sha256_file(path)}  cells.csv\n"
    path.write_text("a,b\n1,3\n")
    with pytest.raises(
        ArtRLError, match=r"cells\.csv: its content does not fit cells\.csv\.sha256"
    ):
        check_seal(path)
    for text in (b"", b"\xff"):
        (tmp_path / "cells.csv.sha256").write_bytes(text)
        with pytest.raises(ArtRLError, match="does not fit"):
            check_seal(path)
    lines = tmp_path / "m.jsonl"
    lines.write_text('{"a": 1}\n')
    seal(lines)
    lines.write_text('{"a": 2}\n')
    with pytest.raises(ArtRLError, match=r"m\.jsonl: its content does not fit"):
        read_json_lines(lines)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
FOREIGN = {
    "lfs": (LFS, "a Git LFS pointer, not the file itself"),
    "html": (b"<!DOCTYPE html><html></html>", "a web page, not the file itself"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle .*which is not read"),
    "zip": (None, "a PyTorch file .*which holds a pickle"),
}


def foreign(path, kind):
    """Write a file of another kind to ``path``; returns the phrase that says what it is."""
    content, phrase = FOREIGN[kind]
    if content is None:
        import torch

        torch.save({"weight": torch.ones(2)}, path)
    else:
        path.write_bytes(content)
    return phrase


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, kind):
    from art_rl.denoisers.edm import load_network
    from art_rl.denoisers.tensors import read_tensors
    from art_rl.denoisers.unet import UNetConfig, UNetDenoiser, load_model, save_model
    from art_rl.metrics.lenet import LeNet, load_lenet, save_lenet
    from art_rl.report.tables import read_rows
    from art_rl.schedules.schedule import Schedule
    from art_rl.training.datasets import read_idx

    path = tmp_path / "file.safetensors"
    save_model(path, UNetDenoiser(UNetConfig((1, 4, 4), (8,), attention=False), 0.5))
    save_lenet(tmp_path / "lenet.safetensors", LeNet(8), 0.5)
    description = {"format": "art_rl.edm_network", "format_version": 1, "class": "EDMPrecond"}
    readers = [
        *(read_json, read_json_lines, read_npz, read_rows, Schedule.load, load_model),
        lambda path: read_tensors(path, "any"),
        lambda path: read_idx(path, 1),
    ]
    phrase = foreign(path, kind)
    for read in readers:
        with pytest.raises(ArtRLError, match=rf"file\.safetensors: {phrase}"):
            read(path)
    phrase = foreign(tmp_path / "lenet.safetensors", kind)
    with pytest.raises(ArtRLError, match=rf"lenet\.safetensors: {phrase}"):
        load_lenet(tmp_path / "lenet.safetensors")
    from art_rl.denoisers.snapshots.snapshot import FORMAT, FORMAT_VERSION

    description |= {"format": FORMAT, "format_version": FORMAT_VERSION, "kwargs": {}, "limits": {}}
    write_json(tmp_path / "net.json", description | {"weights_sha256": "0" * 64})
    with pytest.raises(ArtRLError, match=rf"file\.safetensors: {phrase}"):
        load_network(path, tmp_path / "net.json")


def test_a_folder_is_called_a_folder(tmp_path):
    from art_rl.schedules.schedule import Schedule

    for read in (read_json, read_npz, read_json_lines, Schedule.load):
        with pytest.raises(ArtRLError, match="a folder, not a file"):
            read(tmp_path)
    assert fault_of_file(tmp_path / "none") == "no such file"


# Kills.


WRITER = """
import sys, time
from art_rl.files import atomic_path, exclusive
with exclusive(sys.argv[1]), atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def start_writing(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_kill_leaves_is_removed_and_what_a_living_process_writes_is_not(tmp_path):
    (tmp_path / "deep").mkdir()
    living = start_writing(tmp_path / "deep/K2.json")
    killed = start_writing(tmp_path / "deep/K4.json")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list((tmp_path / "deep").iterdir())) == 4  # of each, the file and the lock
    removed = remove_leftovers([tmp_path, tmp_path / "none"])
    assert len(removed) == 2 and all("K4" in path.name for path in removed)
    assert all("K2" in path.name for path in (tmp_path / "deep").iterdir())
    living.kill()
    living.wait()
    assert len(remove_leftovers([tmp_path])) == 2 and not list((tmp_path / "deep").iterdir())


def test_the_lock_lets_one_in_at_a_time_and_leaves_nothing(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = """
import sys, time
from pathlib import Path
from art_rl.files import exclusive
path = Path(sys.argv[1])
for _ in range(20):
    with exclusive(path):
        value = int(path.read_text())
        time.sleep(0.001)
        path.write_text(str(value + 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(counter)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert counter.read_text() == "60" and list(tmp_path.iterdir()) == [counter]
    with pytest.raises(FileNotFoundError, match="mine"), exclusive(counter):
        raise FileNotFoundError("mine")  # not taken for a lock that went away
    assert list(tmp_path.iterdir()) == [counter]


def test_state_of_other_settings_goes_and_state_of_a_finished_product_goes(tmp_path):
    product = tmp_path / "K2.json"
    with state_folder(product, "0" * 16) as old:
        (old / "checkpoint").write_text("x")
    with state_folder(tmp_path / "K4.json", "0" * 16) as neighbour:
        pass
    with state_folder(product, "1" * 16) as new:
        assert not old.exists() and new.is_dir() and neighbour.is_dir()
        (new / "checkpoint").write_text("x")
    with state_folder(product, "1" * 16) as same:
        assert same == new and (new / "checkpoint").exists()
    assert remove_leftovers([tmp_path]) == []  # both are still to be made
    product.write_text("{}")
    assert remove_leftovers([tmp_path]) == [new] and neighbour.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["K2.json", neighbour.name]
    half = tmp_path / ".tmp-half"  # a kill while a folder was removed
    half.mkdir()
    (half / "x").write_text("x")
    assert remove_leftovers([tmp_path]) == [half]
