"""Fine solutions that rows are learned to meet: finer than what is learned.

A solution of RK4 steps that takes no more network calls than the solver itself would be met by its own
errors.  Above that the learners' verdicts hold their gain against the solution's measured error.
"""

from collections.abc import Sequence
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.registry import LD3_ROWS, method, nfe


def check_references(
    table: str, solver: str, K: int, rows: Sequence[str], settings: Any, model: Any
) -> None:
    """Refuse rows of a table that would learn to meet a solution no finer than their own.

    Args:
        table: its name, for the message.
        rows: its methods.
        settings: the configuration: ``ld3`` and ``learners`` of all models.
        model: the table's model, with values of its own for either.

    Raises:
        ArtRLError: naming table, row, the key to raise and the least value.
    """
    for row in rows:
        if not method(row).runs_with(solver):
            continue
        if row in LD3_ROWS:
            own = model.ld3.reference_steps
            steps = {"ld3": settings.ld3.reference_steps if own is None else own}
        else:
            steps = {
                f"learners.{name}": (model.learners or {})
                .get(name, {})
                .get("reference_steps", learner.settings.reference_steps)
                for name, learner in settings.learners.items()
                if learner.kind == "endpoint" and learner.method == row
            }
        for path, value in steps.items():
            if too_coarse(solver, K, value):
                raise ArtRLError(
                    f"tables.{table} asks for {row!r} at K = {K}: reference_steps of {path} must be at "
                    f"least {least_steps(solver, K)}, got {value}: the row would learn to "
                    "meet a solution no finer than its own"
                )


def too_coarse(solver: str, K: int, steps: int) -> bool:
    """Whether K steps of ``solver`` take as many network calls as so many RK4 steps, or more."""
    return nfe(solver, K) >= nfe("rk4", steps)


def least_steps(solver: str, K: int) -> int:
    """The fewest RK4 steps, 2 or more, that take more network calls than K steps of ``solver``."""
    return max(2, (nfe(solver, K) - 1) // 4 + 2)
