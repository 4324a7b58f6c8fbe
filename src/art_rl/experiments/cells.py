"""Cells that the tables of a checked configuration name: (method, K) of a model and solver."""

from collections.abc import Mapping
from typing import Any

from art_rl.registry import METHODS, method


def methods_of_table(settings: Mapping[str, Any], table: str) -> list[str]:
    """Methods (ids) of a table that have a schedule for its solver, in the order of the registry."""
    entry = settings["tables"][table]
    wanted = entry.get("methods", settings["methods"])
    return [name for name in METHODS if name in wanted and method(name).runs_with(entry["solver"])]


def cell_blocks(
    settings: Mapping[str, Any], model: str, solver: str, blocks: int
) -> dict[tuple[str, int], int]:
    """(method, K) of every table on ``model`` with ``solver``, in a fixed order, and its seed blocks.

    These are the most that a table asks for; one that says nothing asks for all of the model's ``blocks``.
    """
    found: dict[tuple[str, int], int] = {}
    for table, entry in settings["tables"].items():
        if (entry["model"], entry["solver"]) == (model, solver):
            asked = entry.get("seed_blocks") or blocks
            for name in methods_of_table(settings, table):
                for K in entry["budgets"]:
                    found[name, K] = max(found.get((name, K), 0), asked)
    order = list(METHODS)
    return {cell: found[cell] for cell in sorted(found, key=lambda c: (order.index(c[0]), c[1]))}


def wanted_cells(settings: Mapping[str, Any], model: str, solver: str) -> list[tuple[str, int]]:
    """The cells of `cell_blocks`, whatever their seed blocks."""
    return list(cell_blocks(settings, model, solver, 1))
