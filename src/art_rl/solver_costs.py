"""What each solver costs and how accurate it is; see solvers.py.  Needs no torch."""

from art_rl.errors import ArtRLError
from art_rl.schedule import check_budget

ORDERS = {"euler": 1, "heun": 2, "rk4": 4}
STAGES = {"euler": 1, "heun": 2, "rk4": 4}


def check_solver(solver: str) -> str:
    """Return ``solver`` if it is known, else raise ArtRLError."""
    if solver not in STAGES:
        raise ArtRLError(f"unknown solver {solver!r}; known: {', '.join(STAGES)}")
    return solver


def nfe(solver: str, K: int) -> int:
    """Network calls of K steps: K, 2K - 1, 4K - 3 (the last step is Euler)."""
    return STAGES[check_solver(solver)] * (check_budget(K) - 1) + 1
