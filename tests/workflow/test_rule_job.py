"""What every job starts with: who says what failed, and when its state may go."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A rule's script with a pretended ``snakemake``: {body} is its main().
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, {scripts!r})
from rule_job import resumable, run

class Named(dict):
    def __iter__(self):
        return iter(self.values())
    def __getitem__(self, key):
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)

snakemake = SimpleNamespace(
    rule="learn",
    log=["results/logs/learn.log"],
    input=Named(code=sys.argv[0]),
    output=Named(clock="results/clock.json", metrics="results/metrics.jsonl"),
    wildcards=Named(seed="0"),
    params=Named(setting=int(sys.argv[1]) if len(sys.argv) > 1 else 0),
)

def main(snakemake):
{body}

run(main, snakemake)
"""


def write_script(folder, body):
    (folder / "results/logs").mkdir(parents=True, exist_ok=True)
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    path = folder / "script.py"
    path.write_text(SCRIPT.format(scripts=str(ROOT / "workflow/scripts"), body=indented))
    return path


def job(folder, body, *arguments):
    """(exit status, lines on the terminal, text of the log)."""
    path = write_script(folder, body)
    done = subprocess.run(
        [sys.executable, path.name, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout == ""
    log = (folder / "results/logs/learn.log").read_text()
    return done.returncode, done.stderr.splitlines(), log


def test_a_job_that_succeeds_says_nothing_and_seals_its_tables(tmp_path):
    body = """
print("working")
Path("results/metrics.jsonl").write_text("{}\\n")
Path("results/clock.json").write_text("{}")
"""
    assert job(tmp_path, body) == (0, [], "working\n")
    assert (tmp_path / "results/metrics.jsonl.sha256").exists()
    assert not (tmp_path / "results/clock.json.sha256").exists()


def test_one_of_the_folders_may_be_absolute(tmp_path):
    """An absolute path in pathvars ended every table's job: "Can't mix absolute and relative paths"."""
    here, table = tmp_path / "here", tmp_path / "figures.csv"
    body = f"""
snakemake.output["table"] = {str(table)!r}
for path in snakemake.output:
    Path(path).write_text("{{}}")
"""
    assert job(here, body) == (0, [], "")
    assert (here / "results/metrics.jsonl.sha256").exists()
    assert not table.with_name("figures.csv.sha256").exists()


FAULTS = {
    "bad input": (
        "from art_rl.errors import ArtRLError\nraise ArtRLError('K must be at least 1')",
        "art_rl: learn: K must be at least 1",
    ),
    "disk full": (
        "import errno\nraise OSError(errno.ENOSPC, 'No space left on device', 'results/clock.json')",
        "art_rl: learn: OSError: [Errno 28] No space left on device: 'results/clock.json' "
        "(see results/logs/learn.log)",
    ),
    "bug": (
        "raise KeyError('theta')",
        "art_rl: learn: KeyError: 'theta' (see results/logs/learn.log)",
    ),
    "killed": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "art_rl: learn: killed by signal 9 (SIGKILL; out of memory, or killed by hand)",
    ),
    "crashed": (
        "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "art_rl: learn: killed by signal 11 (SIGSEGV)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_last_line_and_the_log_say_what_failed(tmp_path, fault):
    body, line = FAULTS[fault]
    status, terminal, log = job(tmp_path, "print('working')\nsys.stdout.flush()\n" + body)
    assert status == 1 and terminal == [line]
    assert log.startswith("working\n") and log.splitlines()[-1] in line
    assert "Traceback" not in log or fault in ("disk full", "bug")


def test_nobody_writes_outputs_of_a_job_whose_process_is_gone(tmp_path):
    path = write_script(
        tmp_path, "Path('started').write_text('')\ntime.sleep(1.5)\nPath('late').write_text('')"
    )
    process = subprocess.Popen([sys.executable, path.name], cwd=tmp_path)
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)
    assert not (tmp_path / "late").exists()


LEARN = """
with resumable(snakemake) as state:
    done = state / "checkpoint"
    Path("went_on").write_text(str(done.exists()))
    done.write_text("x")
    {inside}
{outside}
Path("results/clock.json").write_text("{{}}")
Path("results/metrics.jsonl").write_text("")
"""


@pytest.mark.parametrize(
    "place", [{"inside": "os.kill(os.getpid(), 9)", "outside": ""},
              {"inside": "pass", "outside": "os.kill(os.getpid(), 9)"}],
    ids=["while it learns", "after learning, before its outputs"],
)  # fmt: skip
def test_state_outlives_a_kill_until_the_outputs_are_there(tmp_path, place):
    from art_rl.files import remove_leftovers

    killer = LEARN.format(**place)
    assert job(tmp_path, killer)[0] == 1
    (state,) = (tmp_path / "results").glob("state-*")
    assert (state / "checkpoint").exists() and (tmp_path / "went_on").read_text() == "False"
    # What decides is in the inputs' bytes: the same script again.
    assert job(tmp_path, killer)[0] == 1 and (tmp_path / "went_on").read_text() == "True"
    assert remove_leftovers([tmp_path / "results"]) == []
    assert job(tmp_path, LEARN.format(inside="pass", outside=""))[0] == 0
    # Killed between its end and Snakemake's note of it, the job goes on from its last state.
    assert job(tmp_path, LEARN.format(inside="pass", outside=""))[0] == 0
    assert (tmp_path / "went_on").read_text() == "True"
    (state,) = (tmp_path / "results").glob("state-*")  # that of the other script is gone
    assert remove_leftovers([tmp_path / "results"]) == [state]


def test_state_of_other_settings_is_neither_used_nor_kept(tmp_path):
    body = LEARN.format(inside="os.kill(os.getpid(), 9)", outside="")
    for setting in ("1", "2"):
        assert job(tmp_path, body, setting)[0] == 1
        assert (tmp_path / "went_on").read_text() == "False"
        assert len(list((tmp_path / "results").glob("state-*"))) == 1
    assert os.listdir(tmp_path / "results/logs") == ["learn.log"]


@pytest.mark.parametrize("setting", ["1", "2"], ids=["same settings", "other settings"])
def test_two_processes_never_share_a_state(tmp_path, setting):
    """Two runs with the same results appended to one file of metrics, or removed each other's state."""
    path = write_script(tmp_path, LEARN.format(inside="time.sleep(60)", outside=""))
    first = subprocess.Popen([sys.executable, path.name, "1"], cwd=tmp_path)
    while not (tmp_path / "went_on").exists():
        time.sleep(0.02)
    waiting = "from art_rl import files\nfiles.state_folder.__wrapped__.__defaults__ = (0.2,)\n"
    status, terminal, _ = job(
        tmp_path, waiting + LEARN.format(inside="time.sleep(60)", outside=""), setting
    )
    assert status == 1 and len(terminal) == 1
    assert "another process is making clock.json here: another run with the same" in terminal[0]
    assert list((tmp_path / "results").glob("state-*/checkpoint"))
    first.kill()
    first.wait()
    # Its lock went with it.
    status, terminal, _ = job(tmp_path, LEARN.format(inside="pass", outside=""), setting)
    assert (status, terminal) == (0, [])
