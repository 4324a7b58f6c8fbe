"""Do fresh tables agree with the committed ones?

    python -m art_rl.report.check_numbers paper_figures/exact <fresh>/paper_figures/exact

Every CSV of the first folder must exist in the second with the same rows.  Each row is held to what it
can be held to on another processor, where sums are added in another order:

    equal             every number the same to the bit, as on the machine that made them
    within tolerance  rows of exact models: relative 1e-6, or what the row's method says
                      (art_rl.registry: 2 % to 5 % where a learner amplifies rounding), or for RMSE a
                      share of the error of the model's reference, below which numbers are rounding
    within spread     rows that hang on a trained network: float32 training amplifies rounding, so
                      two networks agree as two trainings of one do.  A mean may move by three
                      times the spread of its seed blocks, or by a tenth; and two methods that the
                      committed blocks tell apart may not be told apart the other way round
    off               anything else

Tables made from others (wins, rivals, frontier, costs) hold the same means: they are held to what the
tables with seed blocks say of the cell, a ratio to what its two means may move.  Where a row names the
best of several (form "best", the frontier), another choice of as good a mean is no other row.

Timings (*timings.csv) and marks derived from the numbers (best, tied) are not compared.  The exit status
is 0 only if no row is off.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.files import read_json
from art_rl.registry import METHODS
from art_rl.report.tables import Row, read_rows

NOT_COMPARED = {"best", "tied", "converged", "verdict", "seconds", "sd", "outcome", "spread"}
# Numbers that name a row, like its texts; the other numbers are compared.
NAMES = {"K", "nfe", "seed", "block", "budget", "iterations"}
# Rows without a method (objectives of learners) get this one; floors and the paper's numbers are exact.
LEARNER_TOLERANCE = 5e-2
EXACT_TOLERANCE = 1e-6
# The reference's own error is a difference of nearly equal numbers: a floor repeats to this share.
FLOOR_TOLERANCE = 5e-2
# Errors near the reference's own are differences of nearly equal numbers too.
FLOOR_SHARE = 5e-2
# Rows of networks: a change of the mean by so many standard deviations of its blocks, or by this share.
SPREADS, NETWORK_TOLERANCE = 3.0, 0.1
VERDICTS = ("equal", "within tolerance", "within spread", "off")


@dataclass
class Count:
    """Rows of one table by verdict, and one line for each row that is off."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    lines: list[str] = field(default_factory=list)

    def add(self, verdict: str, *lines: str) -> None:
        """Count one row, and keep its lines."""
        self.counts[verdict] += 1
        self.lines += lines


def tolerance(row: Row) -> float:
    """Relative tolerance of a row's numbers, without regard to networks."""
    if row.get("source") == "floor":
        return FLOOR_TOLERANCE
    names = [row[key] for key in ("method", "learned", "baseline") if key in row]
    known = [METHODS[name].tolerance for name in names if name in METHODS]
    if known:
        return max(known)
    return LEARNER_TOLERANCE if "learner" in row else EXACT_TOLERANCE


def row_name(row: Row) -> tuple:
    """What tells a row from the others of its table: its texts, K, NFE, seed; not what was chosen as best."""
    chosen: set[str] = set()
    if row.get("form") == "best":
        chosen = {"learned"}
    elif "side" in row:
        chosen = {"solver", "method", "K"}
    return tuple(
        (key, value)
        for key, value in row.items()
        if key not in NOT_COMPARED | chosen
        and (isinstance(value, str) or (key in NAMES and isinstance(value, int)))
    )


@dataclass(frozen=True)
class Known:
    """What the tables with seed blocks say, for those made from them.

    Attributes:
        floors: model ("" where rows name none) -> RMSE of its reference.
        spreads: (model, solver, metric, method, K) -> standard deviation over seed blocks.
    """

    floors: Mapping[str, float] = field(default_factory=dict)
    spreads: Mapping[tuple, float] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Iterable[Sequence[Row]]) -> "Known":
        """From every table of a folder."""
        floors: dict[str, float] = {}
        spreads: dict[tuple, float] = {}
        for row in (row for rows in tables for row in rows if "source" in row):
            model, mean = str(row.get("model", "")), row.get("mean")
            if row["source"] == "floor" and row.get("metric") == "rmse" and mean is not None:
                floors[model] = min(mean, floors.get(model, mean))
            elif len(_blocks(row)) > 1:
                spreads[_cell(row, model, row.get("method"))] = float(_blocks(row).std(ddof=1))
        return cls(floors, spreads)


def _cell(row: Row, model: str, name: Any) -> tuple:
    return (model, row.get("solver"), row.get("metric"), name, row.get("K"))


def _numbers(row: Row) -> dict[str, float]:
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if key not in NOT_COMPARED and key not in NAMES
    }


def compare_rows(
    committed: Sequence[Row],
    fresh: Sequence[Row],
    networks: Sequence[str] = (),
    model: str = "",
    known: Known | None = None,
) -> Count:
    """Verdicts on the rows of one table.

    Args:
        networks: models that are trained networks; the others' scores are exact.
        model: of rows without a column "model".
        known: of all committed tables; None: of this one.
    """
    count = Count()
    known = Known.of([committed]) if known is None else known
    others = {row_name(row): row for row in fresh}
    for name in others.keys() - {row_name(row) for row in committed}:
        count.add("off", f"{_said(name)}: a row that the committed table lacks")
    pairs = []
    for old in committed:
        new = others.get(row_name(old))
        if new is None:
            count.add("off", f"{_said(row_name(old))}: missing")
            continue
        pairs.append((old, new))
        its_model = str(old.get("model", model))
        count.add(*_verdict(old, new, its_model, its_model in networks, known))
    reversed_pairs = _reversed(
        [pair for pair in pairs if str(pair[0].get("model", model)) in networks]
    )
    for line in reversed_pairs:
        count.add("off", line)
    return count


def _verdict(old: Row, new: Row, model: str, of_network: bool, known: Known) -> tuple[str, ...]:
    """The verdict on a row, with one line for each number that makes it "off"."""
    a, b = _numbers(old), _numbers(new)
    if a.keys() != b.keys():
        odd = ", ".join(sorted(a.keys() ^ b.keys()))
        return "off", f"{_said(row_name(old))}: {odd} in one of the two only"
    if a == b:
        return ("equal",)
    allowed = {key: _allowed(key, old, new, model, known) for key in a}
    off = [key for key in a if not abs(a[key] - b[key]) <= allowed[key][0]]
    if not off:
        return ("within tolerance",)
    if of_network:
        off = [key for key in off if not abs(a[key] - b[key]) <= max(allowed[key])]
        if not off:
            return ("within spread",)
    said = _said(row_name(old))
    return "off", *(f"{said}: {key} committed {a[key]!r}, fresh {b[key]!r}" for key in off)


# Means of a row: the column that names the method whose mean it is.
_MEANS = {"mean": "method", "baseline_mean": "baseline", "learned_mean": "learned"}
# Numerators and denominators of a row's ratio; the denominator may stand in no column.
_RATIOS = (("learned_mean", "baseline_mean"), ("objective", "optimum"), ("mean", None))


def _allowed(key: str, old: Row, new: Row, model: str, known: Known) -> tuple[float, float]:
    """How far a number of a row may move: by tolerance, and where it hangs on a trained network."""
    value = abs(old[key])
    if key == "ratio" and (parts := _parts(old)):
        moves = [_allowed_value(part, size, old, new, model, known) for part, size in parts.items()]
        sizes = [abs(size) for size in parts.values()]
        by_tolerance, by_spread = (
            value * sum(move[which] / size for move, size in zip(moves, sizes, strict=True))
            for which in (0, 1)
        )
        return by_tolerance, by_spread
    return _allowed_value(key, old[key], old, new, model, known)


def _parts(row: Row) -> dict[str, float]:
    """The two numbers that a row's ratio divides, by column ("" for one that stands in none)."""
    for top, bottom in _RATIOS:
        if row.get(top) and row.get("ratio"):
            below = row[top] / row["ratio"] if bottom is None else row.get(bottom)
            return {top: row[top], bottom or "": below} if below else {}
    return {}


def _allowed_value(
    key: str, value: float, old: Row, new: Row, model: str, known: Known
) -> tuple[float, float]:
    name = old.get(_MEANS.get(key, "method"))
    other = new.get(_MEANS.get(key, "method"), name)
    relative = max(tolerance(old), tolerance(new))
    if key in ("baseline_mean", "learned_mean"):
        relative = max(METHODS[x].tolerance for x in (name, other) if x in METHODS)
    rmse = old.get("metric") == "rmse" or old.get("yardstick") == "its start"
    least = FLOOR_SHARE * known.floors.get(model, known.floors.get("", 0.0)) if rmse else 0.0
    size = max(abs(value), abs(new.get(key, value)))
    spread = known.spreads.get(_cell(old, model, name), _block_spread(old))
    return (
        max(1e-12, relative * size, least),
        max(SPREADS * spread, NETWORK_TOLERANCE * abs(value)),
    )


def _blocks(row: Row) -> np.ndarray:
    return np.array([value for key, value in sorted(row.items()) if key.startswith("block_")])


def _block_spread(row: Row) -> float:
    """Standard deviation over seed blocks; 0 with fewer than two."""
    blocks = _blocks(row)
    return float(blocks.std(ddof=1)) if len(blocks) > 1 else 0.0


def _reversed(pairs: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    """One line for each two methods of a budget that both tables tell apart, in opposite orders.

    Told apart: the paired difference over blocks is, in the mean, larger than three times its standard
    deviation and than a tenth of either mean.
    """
    budgets: dict[Any, list[tuple[Row, Row]]] = {}
    for old, new in pairs:
        if "method" in old and len(_blocks(old)) > 1:
            key = tuple(old.get(name) for name in ("model", "solver", "metric", "K"))
            budgets.setdefault(key, []).append((old, new))
    for rows in budgets.values():
        for i, (old, new) in enumerate(rows):
            for old_other, new_other in rows[i + 1 :]:
                before, after = _order(old, old_other), _order(new, new_other)
                if before * after < 0:
                    yield (
                        f"K = {old['K']}: {old['method']} is clearly "
                        f"{'above' if before > 0 else 'below'} {old_other['method']} in the "
                        f"committed table and {'above' if after > 0 else 'below'} it in the fresh one"
                    )


def _order(row: Row, other: Row) -> int:
    """1 if ``row`` is clearly above ``other``, -1 if below, 0 if the blocks do not tell."""
    a, b = _blocks(row), _blocks(other)
    difference = a - b
    mean, sd = difference.mean(), difference.std(ddof=1)
    clear = abs(mean) > SPREADS * sd and abs(mean) > NETWORK_TOLERANCE * max(a.mean(), b.mean())
    return int(np.sign(mean)) if clear else 0


def _said(name: tuple) -> str:
    skipped = {"label", "source"}
    return ", ".join(f"{key} {value}" for key, value in name if key not in skipped)


def models_of(folder: Path) -> dict[str, bool]:
    """Models of a run, and whether each is a network, from the configuration in its provenance.json."""
    try:
        models = read_json(folder / "provenance.json")["config"]["models"]
        return {name: model.get("kind", "exact") != "exact" for name, model in models.items()}
    except (KeyError, TypeError, AttributeError):
        raise ArtRLError(f"{folder / 'provenance.json'}: holds no configuration") from None


def compare_folders(committed: Path, fresh: Path) -> dict[str, Count]:
    """Verdicts by table of the CSV files of two folders.

    Raises:
        ArtRLError: the committed folder holds no CSV or no provenance.json.
    """
    files = sorted(
        path for path in committed.glob("*.csv") if not path.name.endswith("timings.csv")
    )
    if not files:
        raise ArtRLError(f"{committed}: no CSV tables to compare with")
    models = models_of(committed)
    networks = [name for name, network in models.items() if network]
    tables = {path: read_rows(path) for path in files}
    known = Known.of(tables.values())
    verdicts = {}
    for path, rows in tables.items():
        other = fresh / path.name
        # The longest: gmm1d_edm_wins.csv is not of gmm1d.
        fitting = [name for name in models if path.name.startswith(f"{name}_")]
        model = max(fitting, key=len, default="")
        if other.exists():
            verdicts[path.name] = compare_rows(rows, read_rows(other), networks, model, known)
        else:
            verdicts[path.name] = Count()
            verdicts[path.name].add("off", f"missing in {fresh}")
    return verdicts


def table(verdicts: Mapping[str, Count]) -> str:
    """Counts by table, as text."""
    width = max(map(len, verdicts))
    lines = ["  ".join(["table".ljust(width), *VERDICTS])]
    total = Count()
    for name, count in [*verdicts.items(), ("all", total)]:
        for verdict in VERDICTS:
            total.counts[verdict] += count.counts[verdict] if count is not total else 0
        numbers = [str(count.counts[verdict]).rjust(len(verdict)) for verdict in VERDICTS]
        lines.append("  ".join([name.ljust(width), *numbers]))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 if nothing is off, else 1 with one line per number that is."""
    if len(arguments) != 2:
        print("usage: python -m art_rl.report.check_numbers <committed folder> <fresh folder>")
        return 2
    committed, fresh = map(Path, arguments)
    try:
        verdicts = compare_folders(committed, fresh)
    except ArtRLError as error:
        print(f"art_rl: {error}", file=sys.stderr)
        return 1
    off = [f"{name}: {line}" for name, count in verdicts.items() for line in count.lines]
    print(table(verdicts))
    print()
    for line in off:
        print(line)
    result = f"{len(off)} off" if off else "nothing is off"
    print(f"{committed} against {fresh}: {result}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
