"""The workflow end to end on config/smoke.yaml, in a copy of the repository.

Checked: every product is there and consistent, nothing reruns without a reason, editing a module reruns
exactly the rules whose numbers depend on it, a killed run continues to the same bytes, and bad input
is one clear line.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from running import ROOT, command, environment, faults, snakemake, succeeded

from art_rl.report.tables import read_rows
from art_rl.schedules.schedule import Schedule

TOY = Path("results/smoke/toy")
FIGURES = Path("results/smoke/figures/smoke")


def copy_repository(folder):
    for name in ("src", "workflow", "config", "notebooks", "envs"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


def run(folder, *arguments, config="config/smoke.yaml"):
    return snakemake(folder, *arguments, config=config, root=folder)


def jobs(done):
    """Rule -> number of jobs, from the statistics of a dry run."""
    counts = {}
    for line in (done.stdout + done.stderr).splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit():
            counts[parts[0]] = int(parts[1])
    return counts


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the repository in which the smoke configuration has run."""
    folder = copy_repository(tmp_path_factory.mktemp("workflow"))
    succeeded(run(folder))
    return folder


def test_products_are_there_and_consistent(finished):
    rows = read_rows(finished / FIGURES / "toy_euler_rmse.csv")
    ours = {(row["method"], row["K"]): row for row in rows if row["source"] == "ours"}
    # quadrature_order has no Euler schedule of its own.
    methods = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())["methods"]
    assert set(ours) == {
        (name, K) for name in methods if name != "quadrature_order" for K in (2, 4)
    }
    assert ours["edm", 4]["nfe"] == 4 and ours["edm", 4]["block_1"] > 0
    # The table's mean is the mean of the cells.
    cells = read_rows(finished / TOY / "cells/euler.csv")
    runs = [row["rmse"] for row in cells if (row["method"], row["K"]) == ("edm", 4)]
    assert len(runs) == 2 and abs(sum(runs) / 2 - ours["edm", 4]["mean"]) < 1e-15
    heun = [row["nfe"] for row in read_rows(finished / TOY / "cells/heun.csv") if row["K"] == 4]
    assert set(heun) == {7}
    for figure in ("error", "schedules", "profile", "theta", "learning"):
        for suffix in ("pdf", "png"):
            assert (finished / FIGURES / f"toy_{figure}.{suffix}").stat().st_size > 5000
    assert (finished / FIGURES / "objectives.md").exists()
    notebook = json.loads(
        (finished / "results/smoke/notebooks/01_inspect_schedules.ipynb").read_text()
    )
    assert any(cell.get("outputs") for cell in notebook["cells"])


def test_schedules_carry_their_provenance(finished):
    folder = finished / TOY / "schedules"
    for path in folder.glob("*/*/K*.json"):
        schedule = Schedule.load(path)
        method, solver, name = path.parts[-3:]
        facts = schedule.provenance
        assert facts["method"] == method and facts["model"] == "toy"
        assert facts["solver"] == solver
        assert schedule.K == int(name[1:-5]) == facts["budget"]
        assert schedule.sigmas[0] == 10.0 and schedule.sigmas[-1] == 0.0
    assert not list(finished.rglob("state-*")), "training state is removed when it is not needed"
    facts = json.loads((finished / FIGURES / "provenance.json").read_text())
    assert len(facts["config_digest"]) == len(facts["source_digest"]) == 64
    assert {cell["model"]["sigma_max"] for cell in facts["cells"]} == {10.0}


def test_nothing_reruns_without_a_reason_and_an_edit_reruns_what_depends_on_it(finished, tmp_path):
    assert jobs(run(finished, "-n")) == {}
    # Only the closed forms and what starts from them use quadrature.py.
    source = finished / "src/art_rl/schedules/closed_form.py"
    original = source.read_text()
    source.write_text(original + "\n# edited\n")
    try:
        found = jobs(run(finished, "-n"))
    finally:
        source.write_text(original)
    expected = {"closed_form_schedules", "learn_endpoint_euler_1", "endpoint_schedules_1"}
    assert expected <= set(found)
    assert not {"hand_made_schedules", "reference"} & set(found)


def test_killed_run_continues_to_the_same_bytes(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "killed")
    target = TOY / "schedules/art_rl_feedback/any/K4.json"
    learning = folder / TOY / "learning/feedback/seed0"
    shutil.rmtree(learning)
    process = subprocess.Popen(
        command(target, "--force", config="config/smoke.yaml", root=folder),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 1500
    while not list(learning.glob("state-*/seed0/state.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (learning / "result.json").exists(), "killed after the end of learning"
    assert list(learning.glob("state-*/seed0/state.safetensors"))
    (folder / target).unlink(missing_ok=True)
    assert run(folder, "--unlock").returncode == 0
    succeeded(run(folder, target))
    assert (folder / target).read_bytes() == (finished / target).read_bytes()
    assert not list(learning.glob("state-*"))


def changed_digit(content):
    """One digit of the first half is another."""
    digit = max(place for place in range(len(content) // 2) if content[place : place + 1].isdigit())
    other = b"3" if content[digit : digit + 1] == b"7" else b"7"
    return content[:digit] + other + content[digit + 1 :]


def truncated(content):
    return content[: len(content) // 2]


# (product, its damage, who reads it, what is said).  A list is one run, of jobs that do not wait.
OTHER = "does not fit"
DAMAGES = [
    [
        ("cells/euler.csv", changed_digit, "../figures/smoke/toy_euler_rmse.csv", OTHER),
    ],
    [
        (
            "control_table.safetensors",
            changed_digit,
            "learning/feedback/seed1/result.safetensors",
            OTHER,
        ),
    ],
    [
        ("schedules/edm/any/K4.json", changed_digit, "cells/euler.csv", OTHER),
        (
            "learning/art_rl/seed0/result.json",
            truncated,
            "../figures/smoke/objectives.csv",
            "not a JSON file, damaged or truncated?",
        ),
    ],
]


@pytest.mark.parametrize("damages", DAMAGES, ids=["a table", "a learner", "cells and a report"])
def test_a_damaged_product_stops_its_reader_with_one_line(finished, damages):
    # Before: other numbers and exit status 0.
    kept, targets = {}, {}
    for product, damage, reader, words in damages:
        path, target = finished / TOY / product, os.path.normpath(TOY / reader)
        kept[path] = path.stat(), path.read_bytes()
        targets[target] = path.name, words, (finished / target).read_bytes()
        rot(path, damage(path.read_bytes()), path.stat())
    try:
        lines = faults(run(finished, *targets, "--force", "--keep-going"))
    finally:
        for path, (times, content) in kept.items():
            rot(path, content, times)
    assert len(lines) == len(damages)
    for target, (name, words, before) in targets.items():
        (line,) = (line for line in lines if f"{name}: " in line)
        assert words in line
        # Snakemake removes the outputs of a failed job: no half-written file is left behind.
        assert not (finished / target).exists() or (finished / target).read_bytes() == before


def rot(path, content, times):
    """Other content, the same date."""
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_nothing_is_left_behind_and_the_last_line_names_the_folder(finished):
    # A run that makes nothing says nothing.
    (finished / FIGURES / "objectives.csv").unlink(missing_ok=True)
    done = run(finished)
    succeeded(done)
    assert "Tables and figures: results/smoke/figures/smoke/" in done.stdout + done.stderr
    hidden = [*finished.glob("results/**/.*"), *finished.glob("results/**/state-*")]
    assert not hidden
