"""Configuration files are read strictly before any job starts, whatever way they reach the workflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = (ROOT / "config/smoke.yaml").read_text()


def dry_run(folder, *arguments):
    """`snakemake -n` of one small target in an empty folder."""
    command = [str(Path(sys.executable).with_name("snakemake")), "-n", "--quiet", "all"]
    command += ["--cores", "1", "--snakefile", str(ROOT / "workflow/Snakefile"), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("over", "line"),
    [
        (
            "tables:\n  toy_euler: {budgets: [2]}\n  toy_euler: {budgets: [4]}\n",
            "over.yaml: key 'tables.toy_euler' is repeated, on lines 2 and 3: only the last would count; "
            "merge the two or rename one",
        ),
        (
            "models:\n  on: {start: noise}\n",
            "over.yaml: key 'models.on' on line 2 is read by YAML as bool, not as text: write it in "
            "quotes, or another name",
        ),
    ],
)
def test_a_second_file_is_read_strictly_too(tmp_path, over, line):
    (tmp_path / "over.yaml").write_text(over)
    files = [str(ROOT / "config/smoke.yaml"), str(tmp_path / "over.yaml")]
    done = dry_run(tmp_path, "--configfile", *files)
    said = [text for text in done.stderr.splitlines() if "art_rl" in text]
    assert done.returncode == 1
    assert said == [f"art_rl: {tmp_path}/{line}"]
    assert "Traceback" not in done.stderr and os.listdir(tmp_path) == ["over.yaml"]


def test_values_of_the_command_line_go_over_the_file(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "smoke.yaml").write_text(SMOKE)
    options = ("--configfile", "smoke.yaml", "--directory", "elsewhere", "--config")
    target = "results/smoke/figures/other/toy_euler_rmse.csv"
    done = dry_run(tmp_path, *options, "name=other", "--", target)
    assert done.returncode == 0, done.stderr
    done = dry_run(tmp_path, *options, "nmae=other")
    assert "art_rl: config: unknown key 'nmae'; did you mean 'name'?" in done.stderr
