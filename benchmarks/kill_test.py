"""Kill runs of the smoke configurations at file events and see that nothing is lost, wrong or left.

    python benchmarks/kill_test.py                    40 kills over three configurations
    python benchmarks/kill_test.py --kills 4 --configs smoke

Each trial runs a configuration in a copy of the repository and waits for one event: a file that appears,
is renamed or grows in results/ or in the figures, picked from the events of an uninterrupted run in equal
shares.  At that moment the whole process group is killed (SIGKILL, as by a power cut).  Then, as a user
would, `snakemake --unlock` and the same command again.  Held: it succeeds, every product has the bytes of
the uninterrupted run, and no temporary file, lock file or state folder is left.  Not compared: logs,
benchmarks, pictures and PDF files (they hold no numbers of their own), executed notebooks, and times
(``seconds`` of learning records, timings.csv).  A trial that ends before its event counts as a trial
without a kill, and is repeated with an earlier event.

Results: benchmarks/kill_test.json.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from art_rl.files import read_json, write_json  # noqa: E402

CONFIGS = ("smoke", "digits_smoke", "paper_smoke")
FOLDERS = ("results", "paper_figures")
# Without numbers of their own, or with times.
SKIPPED = re.compile(
    r"(^|/)(logs|benchmarks|notebooks|png)/|\.(png|pdf|pyc)$|(^|/)(timings\.csv|\.snakemake)"
)
TIMES = re.compile(r"^(seconds|began|spent_seconds|content_sha256|tensors_sha256)$")
LIMIT = 1800  # seconds of a run


def copy_repository(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "config", "notebooks", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    # Schedules that other configurations carry over.
    for path in (ROOT / "paper_figures").glob("*/schedules"):
        shutil.copytree(path, folder / path.relative_to(ROOT))
    return folder


def command(config: str, mirror: Path, *arguments: str) -> list[str]:
    given = ["--configfile", f"config/{config}.yaml"]
    if config == "paper_smoke":
        given += ["--config", f"mirror={mirror}"]
    fixed = ["--cores", "2", "--quiet", "all"]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed, *given]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}


def run(folder: Path, config: str, mirror: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(config, mirror, *arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def seen(folder: Path) -> dict[str, int]:
    """Size of every file below the folders of products, hidden ones too."""
    sizes = {}
    for top in FOLDERS:
        for path in (folder / top).rglob("*"):
            try:
                if path.is_file():
                    sizes[str(path.relative_to(folder))] = path.stat().st_size
            except FileNotFoundError:
                continue
    return sizes


def watch(process: subprocess.Popen, folder: Path, stop_at: int | None) -> list[str]:
    """File events until the process ends or ``stop_at`` of them were seen."""
    events: list[str] = []
    before = seen(folder)
    while process.poll() is None:
        now = seen(folder)
        events += [path for path, size in now.items() if before.get(path) != size]
        events += [f"{path} gone" for path in before if path not in now]
        before = now
        if stop_at is not None and len(events) >= stop_at:
            return events
        time.sleep(0.01)
    return events


def start(folder: Path, config: str, mirror: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command(config, mirror),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if not TIMES.match(key)}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def content(path: Path) -> str:
    """Digest of what a product says, times left out."""
    if path.suffix == ".json":
        text = json.dumps(without_times(read_json(path)), sort_keys=True)
    elif path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        text = json.dumps([without_times(json.loads(line)) for line in lines])
    elif path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            text = json.dumps([without_times(row) for row in csv.DictReader(file)])
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(text.encode()).hexdigest()


def products(folder: Path) -> dict[str, str]:
    paths = [path for path in seen(folder) if not SKIPPED.search(path)]
    # The digest beside a table with times differs with them.
    paths = [
        path for path in paths if not path.endswith(("metrics.jsonl.sha256", "provenance.json"))
    ]
    return {path: content(folder / path) for path in sorted(paths)}


def leftovers(folder: Path) -> list[str]:
    odd = []
    for top in FOLDERS:
        for path in (folder / top).rglob("*"):
            hidden = path.name.startswith(".") and path.name != ".snakemake_timestamp"
            if hidden or path.name.startswith("state-"):
                odd.append(str(path.relative_to(folder)))
    return odd


def trial(folder: Path, config: str, mirror: Path, stop_at: int, expected: dict[str, str]) -> dict:
    """One kill at event number ``stop_at`` and what became of it; JSON-like."""
    process = start(folder, config, mirror)
    events = watch(process, folder, stop_at)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    record = {
        "config": config,
        "event": stop_at,
        "at": events[-1] if events else "",
        "killed": killed,
    }
    # Jobs are in the process group; their children die with them.
    time.sleep(0.2)
    record["left_by_the_kill"] = len(leftovers(folder))
    unlocked = run(folder, config, mirror, "--unlock")
    again = run(folder, config, mirror)
    record["status"] = [unlocked.returncode, again.returncode]
    if again.returncode:
        record["said"] = again.stderr[-1500:]
    found = products(folder)
    record["differ"] = sorted(
        path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)
    )
    record["left"] = leftovers(folder)
    record["held"] = not (any(record["status"]) or record["differ"] or record["left"])
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/kill_test.json")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    records: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="art_rl_kills.") as name:
        work = Path(name)
        mirror = work / "mirror"
        if "paper_smoke" in options.configs:
            subprocess.run(
                [sys.executable, ROOT / "tests/paper_mirror.py", mirror],
                check=True,
                env=environment(ROOT),
            )
        clean = {}
        for config in options.configs:
            folder = copy_repository(work / config)
            process = start(folder, config, mirror)
            events = watch(process, folder, None)
            if process.wait():
                print(f"{config}: the uninterrupted run failed")
                return 1
            clean[config] = (len(events), products(folder))
            print(f"{config}: {len(events)} events, {len(clean[config][1])} products", flush=True)
            shutil.rmtree(folder)
        for number in range(options.kills):
            config = options.configs[number % len(options.configs)]
            count, expected = clean[config]
            rounds = -(-options.kills // len(options.configs))
            low, share = (number // len(options.configs)) * count / rounds, count / rounds
            event = max(1, int(low + share * generator.random()))
            while True:
                folder = copy_repository(work / f"trial{number}")
                record = trial(folder, config, mirror, event, expected)
                shutil.rmtree(folder)
                if record["killed"] or event == 1:
                    break
                event = max(
                    1, int(0.8 * event)
                )  # the run was over: fewer events were seen this time
            records.append(record)
            print(
                f"{number + 1}: {config}, event {event} ({record['at']}): "
                + ("held" if record["held"] else f"NOT HELD {record}"),
                flush=True,
            )
    held = sum(record["held"] for record in records)
    write_json(options.output, {"kills": len(records), "held": held, "trials": records})
    print(f"{held} of {len(records)} held")
    return int(held != len(records))


if __name__ == "__main__":
    sys.exit(main())
