"""Cells that the tables of a checked configuration name: (method, K) of a model and solver."""

from collections.abc import Mapping
from typing import Any

from art_rl.registry import METHODS, method


def methods_of_table(settings: Mapping[str, Any], table: str) -> list[str]:
    """Methods (ids) of a table that have a schedule for its solver, in the order of the registry."""
    entry = settings["tables"][table]
    wanted = entry.get("methods", settings["methods"])
    return [name for name in METHODS if name in wanted and method(name).runs_with(entry["solver"])]


def wanted_cells(settings: Mapping[str, Any], model: str, solver: str) -> list[tuple[str, int]]:
    """(method, K) pairs of every table on ``model`` with ``solver``, in a fixed order."""
    pairs = {
        (name, K)
        for table, entry in settings["tables"].items()
        if entry["model"] == model and entry["solver"] == solver
        for name in methods_of_table(settings, table)
        for K in entry["budgets"]
    }
    return sorted(pairs, key=lambda pair: (list(METHODS).index(pair[0]), pair[1]))


def cell_blocks(
    settings: Mapping[str, Any], model: str, solver: str, blocks: int
) -> dict[tuple[str, int], int]:
    """Cell of `wanted_cells` -> its seed blocks: the most that a table asks for, of the model's own."""

    def asked(cell: tuple[str, int]) -> int:
        return max(
            entry.get("seed_blocks") or blocks
            for table, entry in settings["tables"].items()
            if (entry["model"], entry["solver"]) == (model, solver)
            and cell[1] in entry["budgets"]
            and cell[0] in methods_of_table(settings, table)
        )

    return {cell: asked(cell) for cell in wanted_cells(settings, model, solver)}
