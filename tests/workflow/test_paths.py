"""A repository in a path that Snakemake cannot start scripts through says so before any job."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from art_rl.errors import ArtRLError
from art_rl.experiments.machine import check_folders, check_interpreter

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["my work", "a\tb", "it's", "a&b", "$HOME", "(1)", "x;y", "a*"])
def test_paths_a_shell_would_not_take_as_one_word(folder):
    with pytest.raises(ArtRLError, match=r"move the repository or its \.venv to a path without"):
        check_interpreter(f"/home/{folder}/art_rl/.venv/bin/python")


@pytest.mark.parametrize("folder", ["work", "Übung", "研究", "a-b_c.d+e,f=g@h:i%"])
def test_paths_a_shell_takes(folder):
    check_interpreter(f"/home/{folder}/art_rl/.venv/bin/python")


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment to link to")
def test_a_run_through_a_path_with_a_space_is_one_line(tmp_path):
    (tmp_path / "my work").symlink_to(sys.prefix)
    done = subprocess.run(
        [
            *(tmp_path / "my work/bin/python", "-m", "snakemake", "--dry-run", "--quiet", "rules"),
            *("--configfile", ROOT / "config/smoke.yaml"),
            *("--snakefile", ROOT / "workflow/Snakefile"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("art_rl:")]
    assert done.returncode == 1 and len(lines) == 1 and "Traceback" not in done.stderr
    assert "the path of Python" in lines[0] and "my work/bin/python', holds ' '," in lines[0]


def test_make_in_a_path_with_a_space_is_one_line(tmp_path):
    for folder, status in (("my work", 2), ("work", 0)):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / "Makefile", tmp_path / folder)
        done = subprocess.run(
            ["make", "--dry-run", "unlock"], cwd=tmp_path / folder, capture_output=True, text=True
        )
        if not status:
            # It gets as far as the files that are not there.
            assert "path with a space" not in done.stderr
            continue
        assert done.returncode == status and len(done.stderr.splitlines()) == 1
        assert f'a path with a space, "{tmp_path / folder}"' in done.stderr


@pytest.mark.parametrize("there", ["nothing", "a venv without pip", "a whole venv"])
def test_make_mends_an_interrupted_environment(tmp_path, there):
    """A venv that was interrupted before it had pip could never be installed into."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    bin_folder = tmp_path / ".venv/bin"
    # Pretended: the venv's Python has pip once the other one has made it.
    inner = '#!/bin/sh\necho "inner $*" >> calls\ntest -e has_pip\n'
    outer = f"#!/bin/sh\necho \"outer $*\" >> calls\nmkdir -p '{bin_folder}'\ntouch has_pip\n"
    outer += f"cp inner '{bin_folder}/python'\n"
    for name, text in (("inner", inner), ("outer", outer)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    if there != "nothing":
        bin_folder.mkdir(parents=True)
        shutil.copy(tmp_path / "inner", bin_folder / "python")
    if there == "a whole venv":
        (tmp_path / "has_pip").touch()
    command = ["make", ".venv/.ready", f"PYTHON={tmp_path / 'outer'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert any("inner -m pip install" in call for call in calls)
    assert ("outer -m venv .venv" in calls) == (there != "a whole venv")
    assert (tmp_path / ".venv/.ready").exists()


def test_products_lie_below_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    for good in ("there", "there/new/deep", "link/new", "new"):
        check_folders({"results": tmp_path / good})
    for bad, what in (
        ("file", "a file, not"),
        ("file/a", "a file, not"),
        ("broken/a", "a link to n"),
    ):
        with pytest.raises(ArtRLError, match=rf"pathvars.results is .*{bad}, but .* is {what}"):
            check_folders({"figures": tmp_path, "results": tmp_path / bad})


def test_a_run_into_a_file_is_one_line(tmp_path):
    (tmp_path / "results").write_text("x")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"]
    command += [
        "--configfile",
        ROOT / "config/smoke.yaml",
        "--snakefile",
        ROOT / "workflow/Snakefile",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("art_rl:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert lines == [
        "art_rl: pathvars.results is results/smoke, but results is a file, not a folder; move it away"
    ]
