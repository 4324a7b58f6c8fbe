"""The methods every table compares: one row each, in the order of the tables.

The ids name files (results/<model>/schedules/<id>/...), config entries and CSV rows; the labels are
what a reader sees.  Adding a method is one entry here plus the rule that writes its schedules.
"""

from dataclasses import dataclass

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError

HAND_MADE = "Hand-made"
CLOSED_FORM = "Closed form"
LEARNED = "ART-RL"
TRANSFER = "ART-RL carried over"


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        id: name in files and in the configuration.
        label: name in tables and figures.
        group: HAND_MADE, CLOSED_FORM, LEARNED or TRANSFER.
        solvers: None if one schedule serves every solver, else the solvers it is made for, each
            with its own schedule.
        tolerance: relative change of a metric that a rerun on another machine may show.  Learners
            amplify rounding; the rest only repeats it.
    """

    id: str
    label: str
    group: str
    solvers: tuple[str, ...] | None = None
    tolerance: float = 1e-6

    def schedule_solver(self, solver: str) -> str:
        """The <solver> part of this method's schedule path when used with ``solver``."""
        return "any" if self.solvers is None else solver

    def runs_with(self, solver: str) -> bool:
        """Whether the method has a schedule for ``solver``."""
        return self.solvers is None or solver in self.solvers


_ALL = ("euler", "heun", "rk4")

METHODS: dict[str, Method] = {
    method.id: method
    for method in (
        Method("uniform", "Uniform", HAND_MADE),
        Method("dpm", "DPM (log-SNR)", HAND_MADE),
        Method("edm", "EDM (rho = 7)", HAND_MADE),
        Method("dpm_no_sigma_min", "DPM without sigma_min", HAND_MADE),
        Method("edm_no_sigma_min", "EDM without sigma_min", HAND_MADE),
        Method("arctan", "Arctan", HAND_MADE),
        Method("cosine", "Cosine", HAND_MADE),
        Method("gaussian", "Gaussian", HAND_MADE),
        Method("quadrature", "ART closed form", CLOSED_FORM),
        Method("quadrature_steps", "ART optimum, K steps", CLOSED_FORM),
        Method("quadrature_order", "ART closed form, order p", CLOSED_FORM, ("heun", "rk4")),
        Method("propagated", "ART propagated", CLOSED_FORM),
        Method("endpoint", "Endpoint (convex)", CLOSED_FORM, _ALL, 1e-4),
        Method("art_rl_paper", "ART-RL (paper's form)", LEARNED, None, 5e-2),
        Method("art_rl_feedback", "ART-RL (feedback)", LEARNED, None, 2e-2),
        Method("art_rl_endpoint", "ART-RL (endpoint reward)", LEARNED, _ALL, 5e-2),
        Method("transfer_budget", "ART-RL, resampled from another K", TRANSFER, _ALL, 5e-2),
        Method("transfer_data", "ART-RL, learned on other data", TRANSFER, _ALL, 5e-2),
    )
}


def method(name: str) -> Method:
    """The method with id ``name``; unknown ids are an ArtRLError that lists the known ones."""
    if name not in METHODS:
        raise ArtRLError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]


# Solvers: orders of accuracy and network calls of one step (`art_rl.flow.solvers` holds the steps).
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
