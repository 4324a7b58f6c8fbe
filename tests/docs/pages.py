"""Tables of the documentation's pages."""

import itertools
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tables(page, head):
    """Tables of docs/<page> at or after the text ``head``, each as rows of texts."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    groups = itertools.groupby(
        text[text.index(head) :].splitlines(), key=lambda line: line.startswith("|")
    )
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in group]
        for is_table, group in groups
        if is_table
    ]


def by_label(rows):
    """Label -> texts of its other cells."""
    return {label: values for label, *values in rows}
