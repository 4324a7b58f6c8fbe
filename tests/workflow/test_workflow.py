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
    expected = {"closed_form_schedules", "learn_endpoint_euler_1_0", "endpoint_schedules_euler"}
    assert expected <= set(found)
    assert not {"hand_made_schedules", "reference"} & set(found)


def test_killed_run_continues_to_the_same_bytes(finished, tmp_path):
    folder = copy_repository(tmp_path / "killed")
    target = TOY / "schedules/art_rl_feedback/any/K4.json"
    process = subprocess.Popen(
        command(target, config="config/smoke.yaml", root=folder),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    learning = folder / TOY / "learning/feedback/seed0"
    deadline = time.monotonic() + 1500
    while not list(learning.glob("state-*/state.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (learning / "result.json").exists(), "killed after the end of learning"
    assert list(learning.glob("state-*/state.safetensors"))
    assert run(folder, "--unlock").returncode == 0
    succeeded(run(folder, target))
    assert (folder / target).read_bytes() == (finished / target).read_bytes()
    assert not list(learning.glob("state-*"))


def test_bad_configuration_is_one_line(finished):
    text = (finished / "config/smoke.yaml").read_text()
    bad = finished / "config/bad.yaml"
    bad.write_text(text.replace("seed_blocks:", "seed_block:"))
    assert faults(run(finished, "-n", config="config/bad.yaml")) == [
        "art_rl: config: unknown key 'evaluation.seed_block'; did you mean 'seed_blocks'? "
        "(known here: samples, seed_blocks, seed, reference_steps)"
    ]


def test_damaged_schedule_stops_the_job_with_one_line(finished):
    path = finished / TOY / "schedules/edm/any/K4.json"
    original, cells = path.read_text(), finished / TOY / "cells/euler.csv"
    before = cells.read_bytes()
    path.write_text(original[: len(original) // 2])
    try:
        (line,) = faults(run(finished, TOY / "cells/euler.csv", "--force"))
    finally:
        path.write_text(original)
    assert "K4.json: not a JSON file, damaged or truncated?" in line
    # Snakemake removes the outputs of a failed job: no half-written file is left behind.
    assert not cells.exists() or cells.read_bytes() == before


def change(content, old, new):
    assert old in content
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    "product, reader",
    [
        ("schedules/edm/any/K4.json", "cells/euler.csv"),
        ("cells/euler.csv", "../figures/smoke/toy_euler_rmse.csv"),
        ("control_table.safetensors", "learning/feedback/seed0/result.safetensors"),
    ],
)
def test_a_changed_digit_in_any_product_stops_its_reader_with_one_line(finished, product, reader):
    # Before: other numbers and exit status 0.
    path, target = finished / TOY / product, os.path.normpath(TOY / reader)
    times, original = path.stat(), path.read_bytes()
    digit = max(
        place for place in range(len(original) // 2) if original[place : place + 1].isdigit()
    )
    changed = bytearray(original)
    changed[digit] = ord("7") if original[digit] != ord("7") else ord("3")
    path.write_bytes(changed)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # rot does not change the date
    try:
        (line,) = faults(run(finished, target, "--force"))
        assert f"{path.name}: " in line
        assert "does not fit" in line or "not a readable safetensors" in line
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert run(finished, target).returncode == 0


def test_nothing_is_left_behind_and_the_last_line_names_the_folder(finished):
    done = run(finished)
    assert done.returncode == 0
    hidden = [*finished.glob("results/**/.*"), *finished.glob("results/**/state-*")]
    assert not hidden
