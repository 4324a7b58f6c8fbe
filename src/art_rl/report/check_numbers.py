"""Do fresh tables agree with the committed ones?

    python -m art_rl.report.check_numbers paper_figures/exact <fresh>/paper_figures/exact

Every CSV of the first folder must exist in the second with the same rows; numbers may differ by the
tolerance of the row's method (art_rl.registry: 1e-6 where rounding is only repeated, 2 % to 5 % where a
learner amplifies it; on the machine that made them the numbers repeat exactly).  Timings and the marks
derived from the numbers (best, tied) are not compared.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.registry import METHODS
from art_rl.report.tables import Row, read_rows

NOT_COMPARED = {"best", "tied", "converged", "verdict", "seconds", "sd"}
# Rows without a method (objectives of learners) get this one; floors and the paper's numbers are exact.
LEARNER_TOLERANCE = 5e-2


def tolerance(row: Row) -> float:
    """Relative tolerance of a row's numbers."""
    if "method" in row:
        return METHODS[row["method"]].tolerance
    return LEARNER_TOLERANCE if "learner" in row else 1e-6


def compare_rows(committed: Sequence[Row], fresh: Sequence[Row]) -> list[str]:
    """One line per disagreement, in the order of the rows."""
    if len(committed) != len(fresh):
        return [f"{len(committed)} rows committed, {len(fresh)} fresh"]
    lines = []
    for number, (old, new) in enumerate(zip(committed, fresh, strict=True), start=2):
        allowed = tolerance(old)
        for key in old.keys() | new.keys():
            if key in NOT_COMPARED:
                continue
            a, b = old.get(key), new.get(key)
            if not _agree(a, b, allowed):
                lines.append(f"line {number}, {key}: committed {a!r}, fresh {b!r}")
    return sorted(lines, key=lambda line: int(line.split()[1].rstrip(",")))


def _agree(a: Any, b: Any, allowed: float) -> bool:
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=allowed, abs_tol=1e-12)
    return a == b


def compare_folders(committed: Path, fresh: Path) -> list[str]:
    """One line per disagreement between the CSV files of two folders.

    Raises:
        ArtRLError: the committed folder holds no CSV.
    """
    files = sorted(path for path in committed.glob("*.csv") if path.name != "timings.csv")
    if not files:
        raise ArtRLError(f"{committed}: no CSV tables to compare with")
    lines = []
    for path in files:
        other = fresh / path.name
        if not other.exists():
            lines.append(f"{path.name}: missing in {fresh}")
            continue
        lines += [f"{path.name}: {x}" for x in compare_rows(read_rows(path), read_rows(other))]
    return lines


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 if all agree, 1 with one line per disagreement otherwise."""
    if len(arguments) != 2:
        print("usage: python -m art_rl.report.check_numbers <committed folder> <fresh folder>")
        return 2
    committed, fresh = map(Path, arguments)
    try:
        lines = compare_folders(committed, fresh)
    except ArtRLError as error:
        print(f"art_rl: {error}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    print(f"{committed} against {fresh}: " + (f"{len(lines)} differ" if lines else "all agree"))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
