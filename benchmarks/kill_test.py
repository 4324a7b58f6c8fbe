"""Kill runs of the smoke configurations at file events and see that nothing is lost, wrong or left.

    python benchmarks/kill_test.py                    40 kills over three configurations
    python benchmarks/kill_test.py --kills 4 --configs smoke
    python benchmarks/kill_test.py --work FOLDER      goes on where a stopped kill test was (same code)

A run of a configuration goes on in a copy of the repository until one event: a file is made, closed, renamed
or removed in results/ or in the figures.  The events are picked, in equal shares, from those of an
uninterrupted run.  At that moment the whole process group is killed (SIGKILL, as by a power cut).  Then, as a
user would, `snakemake --unlock` and the same command again, which is killed at the next of the run's events,
``--kills-per-run`` times in all, and then left alone.  Held: every unlock and the last run succeed, every
product has the bytes of the uninterrupted run, and no temporary file, lock file or state folder is left.
A fault that only one kill makes shows in the products of the end; ``--kills-per-run 1`` tells which.

Not compared: logs, benchmarks, pictures and PDF files (they hold no numbers of their own), executed
notebooks, and times (``seconds`` of learning records, timings.csv).  A continued run makes some files a
second time, so that later kills come somewhat earlier than in the uninterrupted run; a run that ends
before its event counts no kill for it.

Results: benchmarks/kill_test.json, written after every run.  Linux only (inotify).
"""

import argparse
import csv
import ctypes
import hashlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from art_rl.files import digest, read_json, sha256_file, write_json  # noqa: E402

CONFIGS = ("smoke", "digits_smoke", "paper_smoke")
COPIED = ("src", "workflow", "config", "notebooks", "envs")
FOLDERS = ("results", "paper_figures")
# Without numbers of their own, or with times.
SKIPPED = re.compile(
    r"(^|/)(logs|benchmarks|notebooks|png)/|\.(png|pdf|pyc)$|(^|/)(\w*timings\.csv|\.snakemake)"
)
KEPT = re.compile(r"^\.snakemake_timestamp$|\.done$")
TIMES = re.compile(r"^(seconds|began|spent_seconds|content_sha256|tensors_sha256)$")
LIMIT = 3600  # seconds of a run
# Bits of inotify.
KINDS = {0x8: "closed", 0x40: "moved away", 0x80: "moved here", 0x100: "made", 0x200: "removed"}
IS_FOLDER = 0x40000000


class Events:
    """What happens to files below a folder, by inotify; folders made later are watched as well."""

    HEAD = struct.Struct("iIII")

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK)
        if self.handle < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self.folder = folder
        self.paths: dict[int, Path] = {}
        self.watch(folder)

    def watch(self, folder: Path) -> None:
        for name, below, _ in os.walk(folder):
            # Snakemake's own files are none of ours.
            below[:] = [part for part in below if part != ".snakemake"]
            number = self.libc.inotify_add_watch(self.handle, os.fsencode(name), sum(KINDS))
            if number >= 0:
                self.paths[number] = Path(name)

    def read(self, wait: float) -> Iterator[str]:
        """Events, in order, of at most ``wait`` seconds."""
        if not select.select([self.handle], [], [], wait)[0]:
            return
        data, start = os.read(self.handle, 1 << 16), 0
        while start < len(data):
            number, mask, _, length = self.HEAD.unpack_from(data, start)
            start += self.HEAD.size
            name = os.fsdecode(data[start : start + length].rstrip(b"\0"))
            start += length
            if number not in self.paths:
                continue
            path = self.paths[number] / name
            if mask & IS_FOLDER:
                if mask & 0x180:
                    self.watch(path)
            elif (below := path.relative_to(self.folder)).parts[0] in FOLDERS:
                # Nothing of KINDS: a watched folder is gone, or a queue of the kernel ran over.
                for word in [word for kind, word in KINDS.items() if mask & kind]:
                    yield f"{below} {word}"

    def close(self) -> None:
        os.close(self.handle)


def pristine_copy(folder: Path) -> Path:
    """The repository, compiled once, for runs to copy."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    # Schedules that other configurations carry over.
    for path in (ROOT / "paper_figures").glob("*/schedules"):
        shutil.copytree(path, folder / path.relative_to(ROOT))
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder / "src"], check=True)
    return folder


def code_digest(folder: Path) -> str:
    """Digest of what runs."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix not in (".pyc", "")]
    return digest({str(p.relative_to(folder)): sha256_file(p) for p in paths if p.is_file()})


def command(config: str, mirror: Path, *arguments: str) -> list[str]:
    given = ["--configfile", f"config/{config}.yaml"]
    if config == "paper_smoke":
        given += ["--config", f"mirror={mirror}"]
    fixed = ["--cores", "2", "--quiet", "all"]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed, *given]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}


def unlock(folder: Path, config: str, mirror: Path) -> int:
    done = subprocess.run(
        command(config, mirror, "--unlock"),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        timeout=LIMIT,
    )
    return done.returncode


def run(folder: Path, config: str, mirror: Path, stop_at: int | None) -> dict:
    """Run until event number ``stop_at``, then kill; without it, to the end.  What happened, JSON-like."""
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    watched = Events(folder)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command(config, mirror),
            cwd=folder,
            env=environment(folder),
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        count, last, until = 0, "", time.monotonic() + LIMIT
        try:
            while (stop_at is None or count < stop_at) and process.poll() is None:
                for event in watched.read(0.2):
                    count, last = count + 1, event
                    if count == stop_at:
                        break
                if time.monotonic() > until:
                    raise SystemExit(f"{config}: a run took more than {LIMIT} seconds")
            killed = process.poll() is None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            watched.close()
        time.sleep(0.2)  # jobs are in the process group; their children die with them
        record = {"events": count, "at": last, "killed": killed, "status": process.returncode}
        if process.returncode and not killed:
            said.seek(0)
            record["said"] = said.read().decode(errors="replace")[-1500:]
    return record


def seen(folder: Path) -> list[str]:
    """Every file below the folders of products, hidden ones too."""
    return [
        str(path.relative_to(folder))
        for top in FOLDERS
        for path in (folder / top).rglob("*")
        if path.is_file()
    ]


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if not TIMES.match(key)}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def content(path: Path) -> str:
    """Digest of what a product says, times left out; of its bytes, if it cannot be read."""
    try:
        return content_of_values(path)
    except ValueError:
        return hashlib.sha256(path.read_bytes()).hexdigest()


def content_of_values(path: Path) -> str:
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
    # The digest beside a table with times differs with them; provenance.json holds the folder's path.
    paths = [path for path in seen(folder) if not SKIPPED.search(path)]
    paths = [
        path for path in paths if not path.endswith(("metrics.jsonl.sha256", "/provenance.json"))
    ]
    return {path: content(folder / path) for path in sorted(paths)}


def leftovers(folder: Path) -> list[str]:
    odd = []
    for top in FOLDERS:
        for path in (folder / top).rglob("*"):
            # Marks of complete PNG folders are products.
            hidden = path.name.startswith(".") and not KEPT.search(path.name)
            if hidden or path.name.startswith("state-"):
                odd.append(str(path.relative_to(folder)))
    return odd


def chain(
    folder: Path, config: str, mirror: Path, stops: list[int], expected: dict[str, str]
) -> dict:
    """A run with a kill at each event of ``stops``, and what became of it; JSON-like."""
    kills: list[dict] = []
    faults: list[str] = []
    ended = None
    for stop, before in zip(stops, [0, *stops[:-1]], strict=True):
        done = run(folder, config, mirror, max(1, stop - before))
        if not done["killed"]:
            ended = done
            break
        kills.append({"event": stop, "at": done["at"], "left": len(leftovers(folder))})
        if unlock(folder, config, mirror):
            faults.append(f"unlock after the kill at event {stop} failed")
    ended = ended or run(folder, config, mirror, None)
    if ended["status"]:
        faults.append(f"status {ended['status']}: {ended.get('said', '')}")
    found = products(folder)
    paths = sorted(found.keys() | expected.keys())
    return {
        "config": config,
        "kills": kills,
        "faults": faults,
        "differ": [path for path in paths if found.get(path) != expected.get(path)],
        "left": leftovers(folder),
    }


def holds(record: dict) -> bool:
    return not (record["faults"] or record["differ"] or record["left"])


def stops_of(kills: int, runs: int, count: int, generator: random.Random) -> list[list[int]]:
    """Event numbers of each run: one from each of ``kills`` equal shares of ``count``, dealt in turn."""
    share = count / kills
    picked = [max(1, int((i + generator.random()) * share)) for i in range(kills)]
    return [picked[i::runs] for i in range(runs)]


def uninterrupted(work: Path, pristine: Path, config: str, mirror: Path) -> dict:
    """Number of events and products of a run without kills, kept in ``work``."""
    kept = work / f"{config}.json"
    if not kept.exists():
        folder = shutil.copytree(pristine, work / f"{config}_whole")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(folder, config, mirror, None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done["status"]:
            raise SystemExit(f"{config}: the uninterrupted run failed: {done['said']}")
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        value = {"events": done["events"], "cpu_seconds": seconds, "products": products(folder)}
        write_json(kept, value)
        shutil.rmtree(folder)
    value = read_json(kept)
    print(
        f"{config}: {value['events']} events, {len(value['products'])} products, "
        f"{value['cpu_seconds']:.0f} CPU seconds",
        flush=True,
    )
    return value


def kill_test(options: argparse.Namespace, work: Path) -> int:
    pristine, mirror = work / "repository", work / "mirror"
    if not pristine.exists():
        pristine_copy(work / "copying").rename(pristine)
    code = code_digest(pristine)
    if "paper_smoke" in options.configs and not mirror.exists():
        command = [sys.executable, ROOT / "tests/paper_mirror.py", work / "mirror_new"]
        subprocess.run(command, check=True, env=environment(ROOT))
        (work / "mirror_new").rename(mirror)
    asked = {"seed": options.seed, "kills": options.kills, "per_run": options.kills_per_run}
    asked |= {"configs": list(options.configs)}
    records: dict[str, dict] = {}
    kept = work / "runs.json"
    if kept.exists() and (value := read_json(kept))["asked"] == asked:
        records = value["runs"]
    for position, config in enumerate(options.configs):
        whole = uninterrupted(work, pristine, config, mirror)
        kills = options.kills // len(options.configs)
        kills += position < options.kills % len(options.configs)
        if not kills:
            continue
        generator = random.Random(f"{options.seed} {config}")
        runs = -(-kills // options.kills_per_run)
        for number, stops in enumerate(stops_of(kills, runs, whole["events"], generator)):
            name = f"{config} {number + 1}"
            if name not in records:
                folder = work / f"{config}_{number + 1}"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(pristine, folder)
                records[name] = chain(folder, config, mirror, stops, whole["products"])
                if holds(records[name]):
                    shutil.rmtree(folder)
                write_json(kept, {"asked": asked, "runs": records})
                summary(options.output, asked, code, records)
            record = records[name]
            places = "; ".join(f"{kill['event']}: {kill['at']}" for kill in record["kills"])
            print(f"{name}: {'held' if holds(record) else 'NOT HELD'} ({places})", flush=True)
            if not holds(record):
                print(json.dumps({k: record[k] for k in ("faults", "differ", "left")}, indent=2))
    kills, held = summary(options.output, asked, code, records)
    print(f"{held} of {kills} kills held, in {len(records)} runs")
    return int(held != kills or kills == 0)


def summary(path: Path, asked: dict, code: str, records: dict[str, dict]) -> tuple[int, int]:
    """Write what was found so far; kills done, and kills of runs that held."""
    kills = sum(len(record["kills"]) for record in records.values())
    held = sum(len(record["kills"]) for record in records.values() if holds(record))
    write_json(path, {"kills": kills, "held": held, "asked": asked, "code": code, "runs": records})
    return kills, held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--kills-per-run", type=int, default=4)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder to keep finished runs in, to go on from")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/kill_test.json")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        return kill_test(options, options.work.resolve())
    with tempfile.TemporaryDirectory(prefix="art_rl_kills.") as name:
        return kill_test(options, Path(name))


if __name__ == "__main__":
    sys.exit(main())
