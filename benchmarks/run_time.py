"""Where the time of a finished run went, from the workflow's own benchmark files.

    python benchmarks/run_time.py [results/benchmarks] [--cores 2]

Per rule: jobs, wall seconds and CPU seconds as Snakemake measured them (sampled, so jobs below a second
are rough), and the least wall time of the whole run on that many cores: its CPU time divided by them.
"""

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path


def rule_of(path: Path) -> str:
    """Rule-like name of a benchmark file: its stem without seeds, budgets, solvers and shards."""
    return re.sub(r"_(seed\d+|K\d+|euler|heun|rk4|any|\d+)(?=_|$)", "", path.stem)


def read_times(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Rule -> (wall, CPU) seconds of each job."""
    times = defaultdict(list)
    for path in sorted(folder.rglob("*.tsv")):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                cpu = float(row["cpu_time"]) if row["cpu_time"] not in ("-", "NA", "") else 0.0
                times[rule_of(path)].append((float(row["s"]), cpu))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    times = read_times(arguments.folder)
    if not times:
        raise SystemExit(f"{arguments.folder}: no benchmark files; run `make run` first")
    print(f"{'rule':40s} {'jobs':>5s} {'wall s':>9s} {'CPU s':>9s} {'longest':>9s}")
    total = 0.0
    for rule, jobs in sorted(times.items(), key=lambda item: -sum(cpu for _, cpu in item[1])):
        wall, cpu = (sum(column) for column in zip(*jobs, strict=True))
        total += cpu
        longest = max(seconds for seconds, _ in jobs)
        print(f"{rule:40s} {len(jobs):5d} {wall:9.1f} {cpu:9.1f} {longest:9.1f}")
    least = total / arguments.cores
    print(f"CPU {total:.0f} s: at least {least:.0f} s on {arguments.cores} cores, starts included")


if __name__ == "__main__":
    main()
