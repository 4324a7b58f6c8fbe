"""The snapshot reader: round trips, the official files, and hostile files refused without side effects."""

import ast
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from snapshot_writer import (
    Call,
    Global,
    New,
    Persistent,
    Pickle,
    Raw,
    Recall,
    Remember,
    module_state,
    numpy_scalar,
    parameter,
    persistent,
    storage_stream,
    tensor,
    write_snapshot,
)

from art_rl.denoisers.snapshots import convert_snapshot, read_snapshot
from art_rl.errors import ArtRLError
from art_rl.files import read_json, sha256_file

ROOT = Path(__file__).parents[2]
KWARGS = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 0,
    "use_fp16": False,
    "model_type": "SongUNet",
    "channel_mult": [1, 2],
    "dropout": 0.13,
}
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def state_dict():
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "model.map_layer0.weight": (8, 4),
        "model.map_layer0.bias": (8,),
        "model.enc.16x16_conv.weight": (4, 3, 3, 3),
        "model.enc.8x8_down.conv0.weight": (4, 4, 3, 3),
        "model.enc.8x8_down.conv0.resample_filter": (1, 1, 2, 2),
        "model.dec.16x16_aux_norm.weight": (4,),
        "gain": (),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("numpy_core", ["numpy._core", "numpy.core"])
def test_round_trip(tmp_path, numpy_core):
    weights = state_dict()
    path = write_snapshot(
        tmp_path / "net.pkl", "EDMPrecond", KWARGS, weights, numpy_core=numpy_core
    )
    snapshot = read_snapshot(path)
    assert snapshot.class_name == "EDMPrecond"
    assert snapshot.kwargs == KWARGS
    assert snapshot.limits == {"sigma_min": 0.0, "sigma_max": float("inf"), "sigma_data": 0.5}
    assert snapshot.sha256 == sha256_file(path)
    assert set(snapshot.state_dict) == set(weights)
    for name, value in weights.items():
        assert torch.equal(snapshot.state_dict[name], value) and value.dtype == torch.float32


def test_convert_writes_safetensors_and_json(tmp_path):
    weights = state_dict()
    path = write_snapshot(tmp_path / "net.pkl", "EDMPrecond", KWARGS, weights)
    out, description = tmp_path / "net.safetensors", tmp_path / "net.json"
    convert_snapshot(path, out, description, expected_sha256=sha256_file(path))
    loaded = load_file(out)
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    value = read_json(description)
    assert value["class"] == "EDMPrecond" and value["kwargs"] == KWARGS
    assert value["limits"]["sigma_max"] == "inf"
    assert value["source"] == {"name": "net.pkl", "sha256": sha256_file(path)}
    assert value["weights_sha256"] == sha256_file(out)


def test_a_failing_second_file_leaves_nothing(tmp_path, monkeypatch):
    path = write_snapshot(tmp_path / "net.pkl", "EDMPrecond", KWARGS, state_dict())
    out, description = tmp_path / "net.safetensors", tmp_path / "net.json"

    def disk_full(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("art_rl.denoisers.snapshots.snapshot.write_json", disk_full)
        convert_snapshot(path, out, description)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.pkl"]

    description.mkdir()  # renaming the description fails when the weights have their name already
    with pytest.raises(OSError, match=r"net\.json"):
        convert_snapshot(path, out, description)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["net.json", "net.pkl"]


def test_a_failing_conversion_keeps_an_older_one(tmp_path, monkeypatch):
    path = write_snapshot(tmp_path / "net.pkl", "EDMPrecond", KWARGS, state_dict())
    files = tmp_path / "net.safetensors", tmp_path / "net.json"
    convert_snapshot(path, *files)
    before = [file.read_bytes() for file in files]
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("art_rl.denoisers.snapshots.snapshot.sha256_file", lambda path: 1 // 0)
        convert_snapshot(path, *files)
    assert [file.read_bytes() for file in files] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_small_integers_and_shared_storages_are_read(tmp_path):
    read_bytes(tmp_path, first({0: None, -5: {1, 2}, True: None}))
    read_bytes(tmp_path, parsed_again(1))


def test_wrong_digest_is_refused_before_parsing_and_nothing_is_written(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(b"anything")
    with pytest.raises(ArtRLError, match=rf"{sha256_file(path)}, expected {'0' * 64}"):
        convert_snapshot(path, tmp_path / "a.safetensors", tmp_path / "a.json", "0" * 64)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.pkl"]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_storage_written_by_torch_itself(tmp_path):
    values = torch.randn(7, 3)
    _, (stream,) = values.storage().__reduce__()  # what pickling a tensor stores
    assert torch.equal(read(tmp_path, ema_with(tensor(values.numpy(), storage=stream))), values)


def test_views_use_offset_size_and_stride(tmp_path):
    base = np.arange(12, dtype=np.float32)
    storage = storage_stream(base)
    view = tensor(WEIGHT, storage=storage, offset=2, size=(3, 2), stride=(1, 4))
    expected = torch.from_numpy(base).as_strided((3, 2), (1, 4), 2)
    assert torch.equal(read(tmp_path, ema_with(view)), expected)


def test_half_precision_and_scalars(tmp_path):
    half = tensor(WEIGHT.astype(np.float16))
    assert torch.equal(read(tmp_path, ema_with(half)), torch.from_numpy(WEIGHT).half())
    scalar = tensor(np.float32(3.0))
    assert read(tmp_path, ema_with(scalar)).shape == ()


def test_non_persistent_buffers_are_left_out(tmp_path):
    state = module_state({"w": parameter(tensor(WEIGHT))}, {"tmp": tensor(WEIGHT)}, {})
    state["_non_persistent_buffers_set"] = {"tmp"}
    state["_init_kwargs"] = {}
    assert set(read_bytes(tmp_path, snapshot_of(persistent("Net", state))).state_dict) == {"w"}


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(ArtRLError, match="no such file"):
        read_snapshot(tmp_path / "none.pkl")
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(ArtRLError, match="empty"):
        read_snapshot(tmp_path / "empty.pkl")


@pytest.mark.parametrize("name", ["ddpmpp_uncond", "ddpmpp_uncond_np1", "adm_cond"])
def test_official_files(test_data, name):
    folder = test_data("goldens/edm_pickles")
    snapshot = read_snapshot(folder / f"snapshot_{name}.pkl")
    with np.load(folder / f"snapshot_{name}_expected.npz", allow_pickle=False) as expected:
        config = json.loads(str(expected["config_json"]))
        names = [key[3:] for key in expected.files if key.startswith("sd/")]
        assert list(snapshot.state_dict) == names
        for key in names:
            np.testing.assert_array_equal(snapshot.state_dict[key].numpy(), expected[f"sd/{key}"])
    assert snapshot.class_name == config["class_name"]
    assert snapshot.kwargs == config["init_kwargs"]


def test_official_edm2_file(test_data):
    folder = test_data("goldens/edm2")
    snapshot = read_snapshot(folder / "snapshot_edm2_cond.pkl")
    with np.load(folder / "snapshot_edm2_cond_expected.npz", allow_pickle=False) as expected:
        names = [key[3:] for key in expected.files if key.startswith("sd/")]
        assert list(snapshot.state_dict) == names
        for key in names:
            np.testing.assert_array_equal(snapshot.state_dict[key].numpy(), expected[f"sd/{key}"])


# --- hostile files -------------------------------------------------------------------------------


def snapshot_of(ema):
    return Pickle().dump({"ema": ema})


def ema_with(weight, **changes):
    state = module_state({"weight": weight}, {}, {})
    return persistent("Net", state | {"_init_args": (), "_init_kwargs": {}}, **changes)


def read_bytes(tmp_path, data):
    path = tmp_path / "net.pkl"
    path.write_bytes(data)
    return read_snapshot(path)


def read(tmp_path, ema):
    return read_bytes(tmp_path, snapshot_of(ema)).state_dict["weight"]


def good():
    return tensor(WEIGHT)


def with_state(**entries):
    state = module_state({"weight": good()}, {}, {})
    return persistent("Net", state | {"_init_args": (), "_init_kwargs": {}} | entries)


def first(value):
    """A snapshot whose first entry is a hostile value; the rest is honest."""
    return Pickle().dump({"extra": value, "ema": ema_with(good())})


def nested_lists(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def laughs(levels):
    """A list of two references to a list of two references ...: small in the file, 2^levels in all."""
    value = []
    for level in range(levels):
        value = [Remember(f"level {level}", value), Recall(f"level {level}")]
    return value


def shared_modules(levels):
    """Every module holds the one below twice: 2^levels visits for a careless walker."""
    module = ema_with(good())
    for level in range(levels):
        twice = {"a": Remember(f"level {level}", module), "b": Recall(f"level {level}")}
        module = persistent("Net", module_state({}, {}, twice) | {"_init_kwargs": {}})
    return snapshot_of(module)


def expanding():
    """Many tensors on one storage: more bytes than the file has."""
    count = 10_000
    loaded = Call(
        Global("torch.storage", "_load_from_bytes"), (storage_stream(np.zeros(count, "f4")),)
    )
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    views = {
        f"w{i}": Call(
            rebuild, (Recall("s") if i else Remember("s", loaded), 0, (count,), (1,), False, {})
        )
        for i in range(100)
    }
    return snapshot_of(persistent("Net", module_state(views, {}, {}) | {"_init_kwargs": {}}))


def parsed_again(times):
    """One storage whose bytes are handed to the parser again and again by the memo."""
    load = Global("torch.storage", "_load_from_bytes")
    arguments = (storage_stream(np.zeros(1000, "f4")),)
    return first([Call(load, Recall("a") if i else Remember("a", arguments)) for i in range(times)])


def shared_entries(modules, entries):
    """Modules that all hold the same dict of many empty entries."""
    many = Remember("many", {f"p{i}": None for i in range(entries)})
    states = [
        module_state({}, {}, {}) | {"_parameters": Recall("many") if i else many}
        for i in range(modules)
    ]
    children = {f"m{i}": persistent("Net", state) for i, state in enumerate(states)}
    root = module_state({"w": good()}, {}, children) | {"_init_kwargs": {}}
    return snapshot_of(persistent("Net", root))


def long_names(levels):
    """Every tensor name repeats the long names of the modules around it."""
    module = ema_with(good())
    for _ in range(levels):
        state = module_state({}, {}, {"m" * 190: module})
        module = persistent("Net", state | {"_init_kwargs": {}})
    return snapshot_of(module)


def system(command="touch hostile_side_effect"):
    return Call(Global("os", "system"), (command,))


TOUCH = "open('hostile_side_effect', 'w')"
REDUCE_EVAL = Call(Global("builtins", "eval"), (TOUCH,))
honest = lambda: snapshot_of(ema_with(good()))  # noqa: E731


def storage_case(**changes):
    return lambda: snapshot_of(
        ema_with(tensor(WEIGHT, storage=storage_stream(WEIGHT.reshape(-1), **changes)))
    )


def tensor_case(**changes):
    return lambda: snapshot_of(ema_with(tensor(WEIGHT, **changes)))


def nested_stream(hostile):
    """A storage whose description pickle does something else."""
    return storage_case(identity=hostile)


HOSTILE = {
    # what unpickling would execute
    "os.system": (lambda: first(system()), r"os\.system"),
    "posix.system": (lambda: first(Call(Global("posix", "system"), ("id",))), r"posix\.system"),
    "subprocess": (lambda: first(Call(Global("subprocess", "Popen"), (["id"],))), "Popen"),
    "builtins.eval": (lambda: first(REDUCE_EVAL), r"builtins\.eval"),
    "builtins.exec": (lambda: first(Call(Global("builtins", "exec"), (TOUCH,))), r"exec"),
    "builtins.getattr": (
        lambda: first(Call(Global("builtins", "getattr"), (Global("os", "system"), "x"))),
        r"builtins\.getattr",
    ),
    "protocol 2 global": (
        lambda: Pickle(2).dump({"extra": system(), "ema": None}),
        r"os\.system",
    ),
    "dotted name": (
        lambda: first(Call(Global("collections", "OrderedDict.fromkeys"), ([1],))),
        r"OrderedDict\.fromkeys",
    ),
    "dotted name into a permitted module": (
        lambda: first(Global("torch_utils.persistence", "os.system")),
        r"os\.system",
    ),
    "operator.attrgetter": (
        lambda: first(Call(Global("operator", "attrgetter"), ("system",))),
        r"operator\.attrgetter",
    ),
    "torch.load": (lambda: first(Call(Global("torch", "load"), ("x",))), r"torch\.load"),
    "wrong case of a permitted name": (
        lambda: first(Global("collections", "ordereddict")),
        "ordereddict",
    ),
    "name with a line break": (lambda: first(Global("os\nx", "system")), r"os\\nx\.system"),
    "nested reducer": (
        lambda: first(Call(Call(Global("builtins", "getattr"), ("a", "b")), ("id",))),
        r"builtins\.getattr",
    ),
    "calling the result of a call": (
        lambda: first(Call(numpy_scalar(0.5), ())),
        "calls 0.5",
    ),
    "calling a stand-in that is only a class": (
        lambda: first(Call(Global("torch.nn.modules.container", "ModuleDict"), ())),
        "calls torch.nn.modules.container.ModuleDict",
    ),
    "instance of a function": (
        lambda: first(New(Global("torch.storage", "_load_from_bytes"), (b"",))),
        "instance of torch.storage._load_from_bytes",
    ),
    "global hidden in a storage": (nested_stream(system()), r"os\.system"),
    "global hidden as storage type": (storage_case(kind=Global("os", "system")), r"os\.system"),
    # opcodes outside the list
    "persistent id outside": (lambda: first(Persistent("x")), "BINPERSID"),
    "text persistent id": (lambda: first(Raw(pickle.PERSID + b"x\n")), "PERSID"),
    "EXT1": (lambda: first(Raw(pickle.EXT1 + b"\x01")), "EXT1"),
    "EXT4": (lambda: first(Raw(pickle.EXT4 + b"\x01\0\0\0")), "EXT4"),
    "INST": (lambda: first(Raw(pickle.MARK + pickle.INST + b"os\nsystem\n")), "INST"),
    "OBJ": (
        lambda: first(
            Raw(pickle.MARK + pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.OBJ)
        ),
        "OBJ",
    ),
    "NEWOBJ_EX": (
        lambda: first(
            Raw(
                pickle.GLOBAL
                + b"collections\nOrderedDict\n"
                + pickle.EMPTY_TUPLE
                + pickle.EMPTY_DICT
                + pickle.NEWOBJ_EX
            )
        ),
        "NEWOBJ_EX",
    ),
    "DUP": (lambda: first(Raw(pickle.NONE + pickle.DUP)), "DUP"),
    "NEXT_BUFFER": (lambda: first(Raw(pickle.NEXT_BUFFER)), "NEXT_BUFFER"),
    # BUILD as a way to set attributes
    "BUILD on a function": (
        lambda: first(
            Raw(
                pickle.GLOBAL
                + b"torch.storage\n_load_from_bytes\n"
                + pickle.EMPTY_DICT
                + pickle.BUILD
            )
        ),
        r"torch\.storage\._load_from_bytes.*BUILD",
    ),
    "BUILD on a module a second time": (
        lambda: first(
            Call(
                Global("torch_utils.persistence", "_reconstruct_persistent_obj"),
                ema_with(good()).arguments,
                {"class_name": "Other"},
            )
        ),
        "BUILD",
    ),
    "BUILD on a dict": (
        lambda: first(Call(Global("collections", "OrderedDict"), (), {"clear": 1})),
        "BUILD",
    ),
    "dtype of objects": (
        lambda: first(
            Call(
                Global("numpy", "dtype"),
                ("f8", False, True),
                (3, "|", None, ("a",), {"a": 1}, -1, -1, 63),
            )
        ),
        r"numpy\.dtype",
    ),
    "object dtype": (
        lambda: first(Call(Global("numpy", "dtype"), ("O8", False, True))),
        r"numpy\.dtype",
    ),
    "long scalar": (
        lambda: first(
            Call(
                Global("numpy._core.multiarray", "scalar"),
                (Call(Global("numpy", "dtype"), ("f8", False, True)), b"123"),
            )
        ),
        "scalar",
    ),
    # records that are not what they should be
    "wrong version": (lambda: snapshot_of(ema_with(good(), version=7)), "version is 7"),
    "version that only equals 6": (lambda: snapshot_of(ema_with(good(), version=6.0)), "6.0"),
    "wrong type": (lambda: snapshot_of(ema_with(good(), type="func")), "'func'"),
    "extra key": (lambda: snapshot_of(ema_with(good(), hooks=1)), "exactly the keys"),
    "class name with code": (
        lambda: snapshot_of(persistent("x\nimport os", module_state({}, {}, {}))),
        "identifier",
    ),
    "positional arguments": (lambda: snapshot_of(with_state(_init_args=(1,))), "positional"),
    "no kwargs": (lambda: snapshot_of(with_state(_init_kwargs=None)), "_init_kwargs"),
    "tensor in kwargs": (lambda: snapshot_of(with_state(_init_kwargs={"a": good()})), "TensorView"),
    "memo index of 2^32 - 1": (
        lambda: first(Raw(pickle.NONE + pickle.LONG_BINPUT + b"\xff" * 4)),
        "memo entry 4294967295",
    ),
    "deep kwargs": (
        lambda: snapshot_of(with_state(_init_kwargs={"a": nested_lists(400)})),
        "deeply nested",
    ),
    "billion laughs in kwargs": (
        lambda: snapshot_of(with_state(_init_kwargs={"a": laughs(40)})),
        "too large",
    ),
    "one long text many times in kwargs": (
        lambda: snapshot_of(with_state(_init_kwargs={"a": ["x" * 9_000] * 900})),
        "too large",
    ),
    "one short text many times in kwargs": (
        lambda: snapshot_of(with_state(_init_kwargs={"a": ["x" * 100] * 900})),
        "too large",
    ),
    "one key many times in kwargs": (
        lambda: snapshot_of(with_state(_init_kwargs={"a": [{"x" * 900: None}] * 100})),
        "too large",
    ),
    "long key": (lambda: first({"x" * 100_000: None}), "key or set item has 100000 characters"),
    "long set item": (lambda: first({"x" * 1001}), "key or set item has 1001 characters"),
    "keys that hash alike": (
        lambda: first({k * ((1 << 61) - 1): None for k in range(1, 1000)}),
        "key or set item is 2305843009213693951,",
    ),
    "set items that hash alike": (
        lambda: first({k * ((1 << 61) - 1) for k in range(10, 1000)}),
        "key or set item is an int,",
    ),
    "large key": (lambda: first({1 << 60: None}), "key or set item"),
    "large negative key": (lambda: first({-(1 << 60): None}), "key or set item"),
    "infinity as key": (lambda: first({float("inf"): None}), "key or set item is inf"),
    "large float as key": (lambda: first({2.0**100: None}), "key or set item is 1.26"),
    "limit of 400 digits": (
        lambda: snapshot_of(with_state(sigma_min=10**400)),
        "sigma_min is an int",
    ),
    "limit of 2^63": (lambda: snapshot_of(with_state(sigma_data=1 << 63)), r"sigma_data.*2\^63"),
    "true as limit": (lambda: snapshot_of(with_state(sigma_max=True)), "sigma_max is True"),
    "text as limit": (lambda: snapshot_of(with_state(sigma_max="80")), "sigma_max is '80'"),
    "NaN as limit": (lambda: snapshot_of(with_state(sigma_max=float("nan"))), "sigma_max is NaN"),
    "long class name": (
        lambda: snapshot_of(persistent("a" * 201, module_state({}, {}, {}))),
        "identifier",
    ),
    "entries of many modules in one dict": (lambda: shared_entries(60, 5_000), "200000 entries"),
    "long tensor names": (lambda: long_names(3), "is named 'mmm"),
    "tensor under safetensors' own key": (
        lambda: snapshot_of(with_state(_parameters={"__metadata__": good()})),
        "__metadata__",
    ),
    "module twice": (lambda: shared_modules(20), "occurs twice"),
    "dotted tensor name": (
        lambda: snapshot_of(with_state(_parameters={"a.b": good()})),
        r"'a\.b'",
    ),
    "name with a slash is printable, a control character is not": (
        lambda: snapshot_of(with_state(_parameters={"a\x1b[2J": good()})),
        r"x1b",
    ),
    "list as tensor": (lambda: snapshot_of(with_state(_parameters={"w": [1]})), "a list"),
    "no ema": (lambda: Pickle().dump({"G_ema": ema_with(good())}), "ema"),
    "not a dict": (lambda: Pickle().dump([1, 2]), "a list"),
    "tuple as key": (lambda: first({(1, 2): 3}), "dictionary key"),
    # tensors and storages
    "offset outside": (tensor_case(offset=1), "outside its storage of 6"),
    "negative offset": (tensor_case(offset=-1), "offset is -1"),
    "huge offset": (tensor_case(offset=1 << 80), "offset"),
    "size outside": (tensor_case(size=(3, 3)), "outside"),
    "negative size": (tensor_case(size=(-2, 3)), "size"),
    "negative stride": (tensor_case(stride=(-3, 1)), "stride"),
    "huge stride": (tensor_case(stride=(1 << 62, 1)), "outside"),
    "stride 0 bomb": (tensor_case(size=(1 << 40,), stride=(0,)), "outside"),
    "empty": (tensor_case(size=(0, 3)), "empty"),
    "9 dimensions": (tensor_case(size=(1,) * 9, stride=(1,) * 9), "9 sizes"),
    "boolean size": (tensor_case(size=(True, 3)), "size"),
    "float size": (tensor_case(size=(2.0, 3)), "size"),
    "many views of one storage": (expanding, "tensors add up to"),
    "one storage parsed again and again": (lambda: parsed_again(3), "storages add up to"),
    "unknown storage type": (storage_case(kind=Global("torch", "QInt8Storage")), "QInt8Storage"),
    "long storage": (storage_case(kind=Global("torch", "LongStorage")), "LongStorage"),
    "huge claimed count": (storage_case(count=1 << 50, stored=1 << 50), "needs"),
    "count mismatch": (storage_case(stored=7), "declares 6 elements and stores 7"),
    "negative count": (storage_case(count=-6, stored=-6), "claims -6"),
    "wrong magic": (storage_case(magic=42), "magic number, got 42"),
    "wrong torch protocol": (storage_case(protocol=1002), "protocol 1002"),
    "big-endian": (storage_case(little_endian=False), "little-endian"),
    "foreign keys": (storage_case(keys=["94", "95"]), "keys"),
    "no persistent id": (nested_stream(("storage",)), "not a persistent id"),
    "short persistent id": (nested_stream(Persistent(("storage",))), "six-part"),
    "storage cut off": (
        lambda: snapshot_of(
            ema_with(tensor(WEIGHT, storage=storage_stream(WEIGHT.reshape(-1))[:-1]))
        ),
        "needs 24 bytes, but 23 follow",
    ),
    "storage too long": (
        lambda: snapshot_of(
            ema_with(tensor(WEIGHT, storage=storage_stream(WEIGHT.reshape(-1)) + b"\0"))
        ),
        "25 follow",
    ),
    "zip archive as storage": (
        lambda: snapshot_of(ema_with(tensor(WEIGHT, storage=b"PK\x03\x04" + bytes(40)))),
        "damaged|opcode",
    ),
    # streams
    "truncated": (lambda: honest()[:-40], "truncated|damaged"),
    "no STOP": (lambda: honest()[:-1], "truncated|damaged"),
    "bytes after the end": (lambda: honest() + b"x", "1 bytes follow"),
    "protocol 9": (lambda: b"\x80\x09" + honest()[2:], "protocol 9"),
    "unknown opcode": (lambda: first(Raw(b"\xff")), "damaged"),
    "memo entry that does not exist": (lambda: first(Raw(pickle.BINGET + b"\xff")), "memo"),
    "stack underflow": (lambda: b"\x80\x04" + pickle.REDUCE + b".", "missing"),
    "missing MARK": (lambda: b"\x80\x04" + pickle.TUPLE + b".", "MARK"),
    "string of 2^62 bytes": (
        lambda: first(Raw(pickle.BINBYTES8 + struct.pack("<Q", 1 << 62))),
        "damaged",
    ),
    "deep nesting": (lambda: b"\x80\x04" + pickle.MARK * 100_000 + b".", "nested more than"),
    "stack bomb": (lambda: b"\x80\x04" + pickle.NONE * 200_000 + b".", "waiting"),
    "opcode bomb": (
        lambda: b"\x80\x04" + pickle.EMPTY_LIST + (pickle.NONE + pickle.APPEND) * 600_000 + b".",
        "opcodes",
    ),
    "opcode bomb in a storage": (nested_stream([None] * 300), "more than 200 opcodes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_without_side_effects(tmp_path, monkeypatch, name):
    make, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(make())
    before = (
        sorted(entry.name for entry in tmp_path.iterdir()),
        hash(tuple(sorted(sys_modules()))),
    )
    with pytest.raises(ArtRLError, match=message) as caught:
        convert_snapshot(path, tmp_path / "out.safetensors", tmp_path / "out.json")
    after = (sorted(entry.name for entry in tmp_path.iterdir()), hash(tuple(sorted(sys_modules()))))
    assert after == before, "the file was created, or a module imported, while reading"
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def sys_modules():
    import sys

    return sys.modules


def test_the_hostile_files_would_do_harm(tmp_path, monkeypatch):
    """The check above can fail: Python's own unpickler does create the file."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(Pickle().dump(REDUCE_EVAL)).close()
    assert (tmp_path / "hostile_side_effect").exists()


def test_honest_base_of_the_hostile_files_is_read(tmp_path):
    assert torch.equal(read(tmp_path, ema_with(good())), torch.from_numpy(WEIGHT))
    assert read_bytes(tmp_path, first(numpy_scalar(0.5))).class_name == "Net"


# --- nothing else unpickles ----------------------------------------------------------------------

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"}
FORBIDDEN_IMPORTS |= {"marshal", "pandas.read_pickle"}


def unpickling(source: str) -> list[str]:
    """Everything in Python source that can unpickle, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"{node.lineno}: import {name}" for name in names if name in FORBIDDEN_IMPORTS]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("torch.load", "torch.jit.load", "torch.hub.load", "pd.read_pickle"):
                found.append(f"{node.lineno}: {called}")
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    found.append(f"{node.lineno}: allow_pickle")
    return found


def test_nothing_in_the_project_unpickles():
    folders = [ROOT / name for name in ("src", "workflow", "benchmarks", "notebooks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 10
    found = {str(path): unpickling(path.read_text()) for path in files}
    assert {path: hits for path, hits in found.items() if hits} == {}
    for path in [*ROOT.glob("workflow/**/*.smk"), *ROOT.glob("workflow/Snakefile")]:
        for word in ("pickle.load", "import pickle", "torch.load", "allow_pickle=True"):
            assert word not in path.read_text(), f"{path}: {word}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)",
    ],
)
def test_the_search_for_unpickling_finds_it(source):
    assert unpickling(source)
