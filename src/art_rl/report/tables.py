"""From cells to tables: mean over seed blocks, paired ties, and the CSV and Markdown forms.

A row of a cells file is one cell (model, method, solver, K, seed block) with its metrics.  A table
shows one metric of one model and solver, methods down, budgets K across:

    mean, sd   over seed blocks (sd with n - 1)
    best       the lowest mean of a budget
    tied       not best, but its paired excess over the best, block by block, has a mean no larger than
               its own standard deviation or the reference's own error: they are not told apart

The numbers of the paper stand in a block of their own: other targets, not comparable cell by cell.
"""

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.files import check_seal, fault_of_file, write_text
from art_rl.registry import LEARNED, METHODS, METRICS

# Floor of RMSE: how far the fine solution it is measured against is off itself (by step doubling).
REFERENCE_ERROR = "Reference solution's own error"
PAPER_METRICS = {"Wasserstein-2": "w2", "LeNet-FID": "fid", "FID": "fid"}
# Why the paper's numbers are not comparable cell by cell, by its metric.
PAPER_NOTES = {
    "Wasserstein-2": "its target and noise range are not known, compare ratios",
    "LeNet-FID": "another network, classifier and number of samples, compare ratios",
    "FID": "other data and features, compare ratios",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One method at one budget: ``runs`` holds the metric of each seed block.

    ``resolved``: the mean is above the error of what it is measured against (`REFERENCE_ERROR`).
    """

    mean: float
    sd: float
    runs: tuple[float, ...]
    nfe: int
    best: bool
    tied: bool
    converged: bool
    resolved: bool = True


@dataclass(frozen=True)
class Table:
    """One metric of one model and solver.

    Attributes:
        entries: (method id, K) -> Entry; a method without a schedule for some K has no entry there.
        floors: label -> value, lines that no schedule can be expected to beat.
        paper: None, or {"source", "note", "budgets", "rows": {label: [values]}}.
        label: name of the metric, if not the registry's.
    """

    model: str
    solver: str
    metric: str
    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    entries: Mapping[tuple[str, int], Entry]
    floors: Mapping[str, float]
    paper: Mapping[str, Any] | None = None
    label: str | None = None


def write_rows(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Write rows as CSV, floats with every digit; the columns are the keys in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def column_rows(columns: Mapping[str, Any]) -> list[Row]:
    """Columns of one length, arrays or lists of numbers, as rows."""
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def read_rows(path: str | os.PathLike) -> list[Row]:
    """Rows of a CSV file with numbers and booleans as such; empty fields are left out.

    Raises:
        ArtRLError: no such file, no CSV, a line with too few or too many fields, or content that does not
            fit the digest beside it (`art_rl.files.seal`).
    """
    fault = fault_of_file(path)
    if fault is not None:
        raise ArtRLError(f"{path}: {fault}")
    check_seal(path)

    def value(text: str) -> Any:
        if text in ("True", "False"):
            return text == "True"
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtRLError(f"{path}: not a CSV table, damaged? ({error})") from None
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ArtRLError(f"{path}: row {number} has another number of fields than the head")
    return [{k: value(v) for k, v in row.items() if v} for row in rows]


def build_table(
    rows: Iterable[Row],
    model: str,
    solver: str,
    metric: str,
    methods: Sequence[str],
    budgets: Sequence[int],
    floors: Mapping[str, float] | None = None,
    paper: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Table:
    """Collect cells into a table.

    Raises:
        ArtRLError: a cell is missing, has another number of blocks than the rest, or is not finite.
    """
    runs: dict[tuple[str, int], dict[int, Row]] = {}
    for row in rows:
        if row["model"] == model and row["solver"] == solver:
            runs.setdefault((row["method"], row["K"]), {})[row["block"]] = row
    wanted = [(name, K) for name in methods for K in budgets]
    values: dict[tuple[str, int], np.ndarray] = {}
    for key in wanted:
        where = f"{model}, {solver}, {key[0]}, K = {key[1]}"
        if key not in runs:
            raise ArtRLError(f"no cell for {where}")
        blocks = runs[key]
        if sorted(blocks) != sorted(runs[wanted[0]]):
            raise ArtRLError(f"{where} has seed blocks {sorted(blocks)}, other cells differ")
        values[key] = np.array([blocks[b].get(metric, np.nan) for b in sorted(blocks)])
        if not np.isfinite(values[key]).all():
            raise ArtRLError(f"{metric} of {where} is missing or not finite")
    entries = {}
    floors = dict(floors or {})
    blur = floors.get(REFERENCE_ERROR, 0.0)
    for K in budgets:
        best = min(methods, key=lambda name: values[name, K].mean())
        for name in methods:
            cell = values[name, K]
            first = next(iter(runs[name, K].values()))
            excess = cell - values[best, K]
            several = len(cell) > 1
            entries[name, K] = Entry(
                mean=float(cell.mean()),
                sd=float(cell.std(ddof=1)) if several else 0.0,
                runs=tuple(float(v) for v in cell),
                nfe=first["nfe"],
                best=name == best,
                tied=name != best
                and bool(excess.mean() <= max(blur, excess.std(ddof=1) if several else 0.0)),
                converged=bool(first.get("converged", True)),
                resolved=bool(cell.mean() > blur),
            )
    return Table(
        model, solver, metric, tuple(methods), tuple(budgets), entries, floors, paper, label
    )


def paper_block(
    numbers: Mapping[str, Any], name: str, metric: str, note: str | None = None
) -> dict[str, Any] | None:
    """The block ``Table.paper`` from paper_tables.json, or None if that table shows another metric.

    Args:
        note: what sets the paper's numbers apart from ours, instead of PAPER_NOTES.

    Raises:
        ArtRLError: no table of that name.
    """
    if name not in numbers["tables"]:
        raise ArtRLError(f"no paper table {name!r}; known: {', '.join(numbers['tables'])}")
    table = numbers["tables"][name]
    if PAPER_METRICS.get(table["metric"]) != metric.removesuffix("_all"):
        return None
    source = f"{numbers['source'].split(',')[0]}, {name.replace('_', ' ').title()}"
    note = "; ".join(
        part for part in (table.get("note"), note or PAPER_NOTES[table["metric"]]) if part
    )
    return {
        "source": f"Reported in {table.get('source', source)}",
        "note": f"{table['data']}; {note}",
        "budgets": table["K"],
        "rows": table["rows"],
    }


def table_rows(table: Table) -> list[Row]:
    """The table as tidy rows (one per method and budget, floors and paper after), for CSV."""
    common = {"model": table.model, "solver": table.solver, "metric": table.metric}
    rows: list[Row] = []
    for name in table.methods:
        for K in table.budgets:
            entry = table.entries[name, K]
            rows.append(
                {
                    **common,
                    "source": "ours",
                    "method": name,
                    "label": METHODS[name].label,
                    "K": K,
                    "nfe": entry.nfe,
                    "mean": entry.mean,
                    "sd": entry.sd,
                    "best": entry.best,
                    "tied": entry.tied,
                    "converged": entry.converged,
                    **({"resolved": entry.resolved} if REFERENCE_ERROR in table.floors else {}),
                    **{f"block_{b}": value for b, value in enumerate(entry.runs)},
                }
            )
    for label, value in table.floors.items():
        rows.append({**common, "source": "floor", "label": label, "mean": value})
    if table.paper:
        for label, values in table.paper["rows"].items():
            for K, value in zip(table.paper["budgets"], values, strict=True):
                if value is not None:  # reported
                    theirs = {"model": "paper", "source": "paper", "label": label}
                    rows.append({**common, **theirs, "K": K, "mean": value})
    return rows


def number(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, no exponent unless below 1e-6 or above 1e5."""
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def spread_of(entry: Entry) -> str:
    """Standard deviation with the decimals of the mean, or one digit if they do not show it."""
    decimals = len(number(entry.mean).partition(".")[2])
    return f"{entry.sd:.{decimals}f}" if entry.sd >= 0.5 * 10.0**-decimals else number(entry.sd, 1)


def notes_of(table: Table) -> list[str]:
    """Lines below a table: blocks, and what its marks mean."""
    blocks = max(len(entry.runs) for entry in table.entries.values())
    notes = ["One seed block, the same noise in every cell: no spread. Bold: lowest."]
    if table.metric.endswith("_all"):
        images = "The images of all seed blocks together"
        notes = [f"{images}, the same noise in every cell. Bold: lowest."]
    if blocks > 1:
        notes = [
            f"Mean ± standard deviation over {blocks} seed blocks with common noise.",
            "Bold: lowest mean. ≈: not told apart from it (paired excess within its spread).",
        ]
    elif any(entry.tied for entry in table.entries.values()):
        notes.append("≈: the same value, or not further from it than the reference's own error.")
    if not all(entry.converged for entry in table.entries.values()):
        notes.append("‡: the learner reports that it has not converged.")
    if not all(entry.resolved for entry in table.entries.values()):
        notes.append("§: at or below the reference solution's own error, which is all it shows.")
    return notes


def caption(table: Table) -> str:
    """One line that says what the table shows."""
    metric = table.label or METRICS[table.metric].label
    return f"{metric}, model {table.model}, solver {table.solver}"


def cell_text(entry: Entry, bold: str, spread: str, marks: Sequence[str]) -> str:
    """A cell of a table: ``bold`` and ``spread`` are formats, ``marks`` those of `notes_of` in its order."""
    text = number(entry.mean)
    text = bold.format(text) if entry.best else text
    text += spread.format(spread_of(entry)) if len(entry.runs) > 1 else ""
    said = (entry.tied, not entry.converged, not entry.resolved)
    return text + "".join(mark for mark, holds in zip(marks, said, strict=True) if holds)


def to_markdown(table: Table) -> str:
    """The table in GitHub Markdown, with notes below and the paper's numbers in a second table."""
    head = ["Method", *(f"K = {K}" for K in table.budgets)]
    first = table.methods[0]
    rows = [head, ["NFE", *(str(table.entries[first, K].nfe) for K in table.budgets)]]
    for name in table.methods:
        cells = [table.entries[name, K] for K in table.budgets]
        texts = [cell_text(cell, "**{}**", " ± {}", (" ≈", " ‡", " §")) for cell in cells]
        rows.append([METHODS[name].label, *texts])
    for label, value in table.floors.items():
        rows.append([f"*{label}*", *[number(value)] * len(table.budgets)])
    lines = [f"**{caption(table)}**", "", *markdown_table(rows)]
    lines += ["", *(f"- {note}" for note in notes_of(table))]
    if table.paper:
        paper = table.paper
        rows = [["Method", *(f"K = {K}" for K in paper["budgets"])]]
        for label, values in paper["rows"].items():
            rows.append([label, *("" if v is None else number(v) for v in values)])
        lines += ["", f"**{paper['source']}** ({paper['note']})", "", *markdown_table(rows)]
        lines += _ratios_to_edm(table, paper)
    return "\n".join(lines) + "\n"


def _ratios_to_edm(table: Table, paper: Mapping[str, Any]) -> list[str]:
    """Lines of a table of learned rows, ours and the paper's, over the row EDM of the same table."""
    rows: list[list[str]] = []
    if (
        "edm" in table.methods
        and "EDM" in paper["rows"]
        and list(table.budgets) == paper["budgets"]
    ):
        for name in table.methods:
            if METHODS[name].group == LEARNED:
                pairs = [(table.entries[name, K], table.entries["edm", K]) for K in table.budgets]
                rows.append([METHODS[name].label, *(number(a.mean / b.mean, 2) for a, b in pairs)])
        for label, values in paper["rows"].items():
            if label.startswith("ART-RL"):
                known = zip(values, paper["rows"]["EDM"], strict=True)
                texts = ["" if None in (a, b) else number(a / b, 2) for a, b in known]
                rows.append([f"the paper's {label}", *texts])
    head = ["Method", *(f"K = {K}" for K in table.budgets)]
    return ["", "**Ratio to EDM**", "", *markdown_table([head, *rows])] if rows else []


def markdown_table(rows: Sequence[Sequence[str]], numbers: bool = True) -> list[str]:
    """Lines of a Markdown table, the head first; ``numbers``: all columns but the first to the right."""
    head, *rest = rows
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rest)]


def plain_markdown(rows: Sequence[Row], note: str) -> str:
    """Rows as a Markdown table, floats with four significant digits."""
    columns = list(rows[0])
    texts = [[plain_text(row[column]) for column in columns] for row in rows]
    return "\n".join([*markdown_table([columns, *texts], numbers=False), "", note]) + "\n"


def plain_text(value: Any) -> str:
    """A value of a plain table; numbers with four digits."""
    return number(value, 4) if isinstance(value, float) else str(value)
