"""Every benchmark takes its documented command lines and runs on its smallest sizes.

The throughput of EDM networks: tests/benchmarks/test_edm_throughput.py.
"""

import argparse
import ast
import importlib
import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from art_rl.denoisers.unet import load_model
from art_rl.experiments.targets import Targets
from art_rl.files import read_json, read_json_lines
from art_rl.flow.measure_profile import measure_profile
from art_rl.learning.ld3 import learn_ld3
from art_rl.registry import SOLVERS
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.experiment import check_configuration
from art_rl.settings.load import load
from art_rl.settings.networks import LeNetSettings, TrainSettings
from art_rl.settings.rivals import LD3Settings
from art_rl.training.datasets import load_data
from art_rl.training.score import shipped_network

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config/networks/mnist.safetensors"
SOURCES = {path.stem: path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py")}
COMMANDS = [name for name, text in SOURCES.items() if "__main__" in text]


def documented():
    """(benchmark, arguments) of every command line in the pages and the docstrings."""
    texts = [ast.get_docstring(ast.parse(text)) for text in SOURCES.values()]
    pages = [ROOT / "README.md", *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "docs").glob("*.md")]
    texts += [page.read_text("utf-8") for page in pages]
    for text in texts:
        for name, rest in re.findall(r"python benchmarks/(\w+)\.py([^`\n]*)", text):
            # An explanation behind the command; optional parts; choices.
            rest = re.split(r"   |#", rest)[0].replace("...", "")
            yield name, tuple(re.sub(r"[\[\]]|\|\w+", "", rest).split())


@pytest.fixture
def benchmark(monkeypatch):
    """Function from a benchmark's name to its module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def run(monkeypatch):
    """Function that runs a benchmark with arguments, as on the command line."""

    def call(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        return module.main()

    return call


class Parsed(Exception):
    """The command line was taken."""


@pytest.mark.parametrize("name", COMMANDS)
def test_documented_command_lines_are_taken(name, benchmark, run, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *arguments):
        parse(self, *arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    lines = {arguments for other, arguments in documented() if other == name}
    assert lines, "no page and no docstring says how to call it"
    for arguments in lines:
        with pytest.raises(Parsed):
            run(benchmark(name), *arguments)


def test_every_benchmark_runs_here_or_where_the_docstring_says():
    here = Path(__file__).read_text("utf-8")
    there = (ROOT / "tests/benchmarks/test_edm_throughput.py").read_text("utf-8")
    for name in COMMANDS:
        assert f'benchmark("{name}")' in here or f"{name}.main(" in there, name
    assert {name for name, _ in documented()} == set(COMMANDS)


def test_run_time(benchmark, run, tmp_path, capsys):
    for number, cpu in enumerate(("1.5", "-")):
        text = f"s\th:m:s\tcpu_time\n2.0\t0:00:02\t{cpu}\n"
        (tmp_path / f"learn_endpoint_heun_{number}.tsv").write_text(text)
    run(benchmark("run_time"), tmp_path, "--cores", 2)
    _, row, total = capsys.readouterr().out.splitlines()
    assert row.split() == ["learn_endpoint", "2", "4.0", "1.5", "2.0"]
    assert total.startswith("CPU 2 s: at least 1 s on 2 cores")


def test_speed_of_the_shipped_network_with_its_classes(benchmark, run, tmp_path):
    names = ["float32", "channels_last", "bfloat16"]
    sizes = ["--batches", 2, "--steps", 2, "--repeats", 1, "--json", tmp_path / "rows.json"]
    run(benchmark("sampler_speed"), "--network", SHIPPED, *sizes, "--variants", *names)
    rows = {row["variant"]: row for row in read_json(tmp_path / "rows.json")}
    off = [rows[name]["largest_difference"] for name in names]
    assert off[0] == 0 < off[1] < 1e-5 < off[2] < 0.1
    assert all(row["per_cpu_second"] > 0 for row in rows.values())


def test_speed_of_the_configurations_networks(benchmark, run, monkeypatch, capsys):
    module = benchmark("sampler_speed")
    monkeypatch.setattr(module.torch, "compile", lambda model: model)  # takes minutes
    run(module, "--batches", 2, "--steps", 1, "--repeats", 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[::6]] == ["digits", "mnist"]


def test_memory_of_sampling(benchmark, run, capsys):
    run(benchmark("sampling_memory"), "--images", 6, "--batch", 4, "--network", SHIPPED)
    assert capsys.readouterr().out.startswith("6 images of (1, 32, 32), batch 4: peak ")


def test_lists_of_solvers(benchmark, run, monkeypatch, capsys):
    module = benchmark("solver_lists")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "SOLVERS", {"unipc2": SOLVERS["unipc2"]})
    run(module, "--budgets", 4, "--train", 8, "--fresh", 8)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| solver | K = 4 |" and lines[2].startswith("| UniPC-2 | ")
    edm, hand_made, learned = (float(text.strip(" *|")) for text in lines[2][11:].split("/"))
    assert learned <= hand_made < edm
    assert lines[-1].startswith("| 0.0001 | ")


def test_endpoint_reward_against_back_propagation(benchmark, run, monkeypatch, tmp_path):
    module, states = benchmark("endpoint_backprop"), benchmark("endpoint_backprop").states
    monkeypatch.setattr(module, "states", lambda count, seed: states(min(count, 32), seed))
    arguments = ["--seeds", 0, "--solvers", "euler", "--budgets", 3, "--states", 32]
    arguments += ["--perturbed", 0, "--settings", '{"iterations": 3, "trials": 2}', "--out"]
    run(module, *arguments, tmp_path / "one")
    (row,) = read_json_list(tmp_path / "one.json")
    assert 0.9 < row["art_rl"][0]["ratio"] < 1.5
    assert (tmp_path / "one.md").read_text().splitlines()[2].startswith("| Euler | 3 | ")
    monkeypatch.setattr(module, "back_propagation", None)  # the yardstick is not made again
    run(module, *arguments, tmp_path / "two", "--yardstick", tmp_path / "one.json")
    assert read_json_list(tmp_path / "two.json") == [row]


def read_json_list(path):
    return json.loads(path.read_text("utf-8"))


def test_cost_of_learning(benchmark, run, monkeypatch, tmp_path, capsys):
    module, plain = benchmark("learning_cost"), load(ROOT / "config/rivals.yaml")
    name = "gmm1d_edm"
    plain["ld3"] = {"rounds": 1, "steps": 2, "train": 4, "valid": 4, "reference_steps": 8}
    plain |= {"control": {"trajectories": 32}, "evaluation": {"reference_steps": 16}}
    for learner in plain["learners"].values():
        learner["settings"] |= {"iterations": 4, "reference_steps": 8, "evaluations": 20_000}
    monkeypatch.setattr(module, "load", lambda path: plain)
    monkeypatch.setattr(module, "SAMPLES", {name: 32})
    # What the finished run brings.
    targets = Targets(check_configuration(plain))
    experiment = build_experiment(name, targets.models[name])
    (tmp_path / name).mkdir()
    measure_profile(**experiment.drawn(8, 1)).save(tmp_path / name / "profile.npz")
    settings = LD3Settings(**targets.block(name, "ld3"))
    learned = learn_ld3(
        **experiment.drawn(settings.train + settings.valid, settings.seed),
        solver="euler",
        budgets=[4],
        settings=settings,
        progress=False,
    )
    learned[4][0].save(tmp_path / name / "schedules/ld3/euler/K4.json")
    arguments = ["--models", name, "--solvers", "euler", "--budgets", 4, "--results", tmp_path]
    run(module, *arguments, "--out", tmp_path / "cost")
    (cell,) = read_json_list(tmp_path / "cost.json")
    assert [row["variant"] for row in cell["art_rl"]] == ["config", "small"]
    assert all(row["evaluations"] > 0 and row["rmse"] > 0 for row in cell["art_rl"])
    assert "| Euler | LD3, in all | " in (tmp_path / "cost.md").read_text()
    capsys.readouterr()
    run(module, *arguments, "--out", tmp_path / "cost")
    assert capsys.readouterr().out == "", "cells that are done are not learned again"


@pytest.fixture
def short(monkeypatch):
    """Function that gives benchmarks few images, a short training of the classifier, two steps."""

    def few(name, folder):
        data = load_data(name, folder)
        return replace(data, train=data.train[:96], train_labels=data.train_labels[:96])

    def shorten(*modules):
        for module in modules:
            monkeypatch.setattr(module, "LeNetSettings", partial(LeNetSettings, epochs=1))
            monkeypatch.setattr(module, "load_data", few)
        monkeypatch.setattr(modules[0], "STEPS", 2)

    return shorten


def test_noise_distribution(benchmark, run, short, tmp_path):
    module = benchmark("noise_distribution")
    short(module)
    sizes = ["--images", 128, "--count", 4, "--variants", 0, 5]
    run(module, "digits", *sizes, "--out", tmp_path / "rows.jsonl")
    plain, labelled = read_json_lines(tmp_path / "rows.jsonl")
    assert (plain["P_mean"], labelled["P_mean"]) == (-1.2, 0.5)
    assert "label_share" in labelled and "label_share" not in plain
    assert plain["images_seen"] == 128 and plain["fid"] > 0


def test_ship_network(benchmark, run, short, monkeypatch, tmp_path):
    module = benchmark("ship_network")
    short(benchmark("noise_distribution"), module)
    chosen = module.shipped_settings("digits")
    chosen["training"] |= {"iterations": 3, "batch_size": 8, "checkpoint_every": 100}
    monkeypatch.setattr(module, "shipped_settings", lambda name: chosen)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "config").mkdir()
    calls, train = [], module.train

    def counted(*arguments, **options):
        calls.append(options)
        assert len(calls) < 3, "a snapshot between two states loses what was trained"
        return train(*arguments, **options, progress=False)

    monkeypatch.setattr(module, "train", counted)
    run(module, "digits", "--state", tmp_path / "state", "--every", 2, "--count", 4)
    path = tmp_path / "config/networks/digits.safetensors"
    record = read_json(path.with_suffix(".json"))["training"]
    assert [row["images_seen"] for row in record["fid_by_images"]] == [16, 24]
    # As `trained` of a configuration it is taken for the network that training would give.
    settings = TrainSettings(**chosen["training"])
    shipped_network(path, load_model(path).config, settings, "digits", "cpu")


# A run in small: six products, made one after another; a fault leaves a hidden file when it begins.
PRETENDED = """
import pathlib, sys, time
if "--unlock" not in sys.argv:
    if "fault" in sys.argv:
        pathlib.Path("results/.tmp-left").touch()
    for number in range(6):
        path = pathlib.Path(f"results/{number}.json")
        if not path.exists():
            path.with_suffix(".part").write_text('{"number": %d}' % number)
            path.with_suffix(".part").rename(path)
        time.sleep(0.05)
"""


@pytest.mark.parametrize("fault", [(), ("fault",)])
def test_kill_test(fault, benchmark, run, monkeypatch, tmp_path):
    module = benchmark("kill_test")
    command = [sys.executable, "-c", PRETENDED, *fault]
    monkeypatch.setattr(module, "command", lambda config, mirror, *more: [*command, *more])
    monkeypatch.setattr(module, "pristine_copy", lambda folder: folder.mkdir() or folder)
    sizes = ["--kills", 2, "--kills-per-run", 2, "--configs", "smoke"]
    status = run(module, *sizes, "--work", tmp_path / "work", "--output", tmp_path / "found.json")
    found = read_json(tmp_path / "found.json")
    assert (status, found["kills"], found["held"]) == ((1, 2, 0) if fault else (0, 2, 2))
    (run_of_two,) = found["runs"].values()
    assert len(run_of_two["kills"]) == 2 and run_of_two["differ"] == []
