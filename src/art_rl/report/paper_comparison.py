"""Our FID beside the paper's, cell by cell.

The official habit is to compute FID for three seed blocks and to report the lowest; the paper's numbers
are read that way.  Beside that minimum stand the mean over the blocks and their standard deviation.

    difference          minimum - paper's number
    mean_difference     mean - paper's number
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.registry import METHODS

Row = dict[str, Any]

# Our method -> the paper's row.  Methods the paper does not have stand without a counterpart.
# GITS and DMN are rows of the tables that other papers reported (multistep_* in paper_tables.json).
PAPER_ROWS = {
    "uniform": "Uniform",
    "dpm": "DPM",
    "edm": "EDM",
    "gits": "GITS",
    "dmn": "DMN",
    "art_rl_paper": "ART-RL",
    "transfer_budget": "ART-RL",
    "transfer_data": "ART-RL",
}

NOTE = (
    "FID (lower is better). min: lowest of the seed blocks, the official habit and what the paper's "
    "numbers are compared with; mean, sd: over the seed blocks. difference: min - paper."
)


def beside_paper(rows: Iterable[Mapping[str, Any]], paper: Mapping[str, Any]) -> list[Row]:
    """One row per method and budget of one of our tables.

    Args:
        rows: of a rendered table's CSV (``art_rl.report.tables.table_rows``).
        paper: an entry of paper_tables.json: "K", "rows".

    Returns:
        Rows {method, label, K, nfe, blocks, min, mean, sd, paper, difference, mean_difference}; the last
        three are None where the paper has no such cell.

    Raises:
        ArtRLError: no rows of ours.
    """
    result = []
    for row in rows:
        if row.get("source") != "ours":
            continue
        runs = [value for key, value in sorted(row.items()) if key.startswith("block_")]
        lowest = min(runs)
        known = paper["rows"].get(PAPER_ROWS.get(row["method"], ""))
        theirs = dict(zip(paper["K"], known, strict=True)).get(row["K"]) if known else None
        result.append(
            {
                "method": row["method"],
                "label": METHODS[row["method"]].label,
                "K": row["K"],
                "nfe": row["nfe"],
                "blocks": len(runs),
                "min": lowest,
                "mean": row["mean"],
                "sd": row["sd"],
                "paper": theirs,
                "difference": None if theirs is None else lowest - theirs,
                "mean_difference": None if theirs is None else row["mean"] - theirs,
            }
        )
    if not result:
        raise ArtRLError("the table holds no numbers of ours")
    return result


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows for reading: FID with two decimals, empty where the paper has no number."""
    columns = ("label", "K", "nfe", "min", "mean", "sd", "paper", "difference")

    def text(column: str, value: Any) -> str:
        if value is None:
            return ""
        if column == "difference":
            return f"{value:+.2f}"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    return [{column: text(column, row[column]) for column in columns} for row in rows]
