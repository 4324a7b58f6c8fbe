"""The second-moment matrix of a solver's local errors as they arrive at sigma = 0, as a file.

C(s, s') = E <v(s), v(s')>; measured by `art_rl.flow.measure_errors`, minimised over clocks by
`art_rl.schedules.endpoint`.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.registry import ORDERS, check_solver
from art_rl.schedules.measurement import Measurement


@dataclass(frozen=True)
class ErrorMoments(Measurement):
    """Second moments of propagated local errors.

    Attributes:
        edges: (N + 1,) float64, decreasing from sigma_max to sigma_min; node i stands for the step
            from edges[i] to edges[i + 1].
        moments: (N, N) float64, C_ij = E <v_i, v_j>, symmetric positive semidefinite.
        last_step: (N + 1,) float64, E |e|^2 of the error of an Euler step from edges[i] to 0.
        solver: whose local errors, a key of SOLVERS.
        model_digest: SHA-256 of the model.
        settings: sizes and cost; JSON-like.
    """

    FORMAT: ClassVar = "art_rl.error_moments/1"
    WHAT: ClassVar = "an error-moment file"
    ARRAYS: ClassVar = ("edges", "moments", "last_step")

    edges: np.ndarray
    moments: np.ndarray
    last_step: np.ndarray
    solver: str
    model_digest: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_solver(self.solver)
        N = len(self.edges) - 1
        if N < 3 or not (np.diff(self.edges) < 0).all() or not self.edges[-1] > 0:
            raise ArtRLError("moment edges must be positive and strictly decreasing, at least 4")
        if self.last_step.shape != (N + 1,) or not (self.last_step >= 0).all():
            raise ArtRLError(f"last_step must be {N + 1} values >= 0")
        if self.moments.shape != (N, N) or not np.isfinite(self.moments).all():
            raise ArtRLError(f"moments must be a finite ({N}, {N}) matrix")
        if not np.allclose(self.moments, self.moments.T, rtol=1e-9, atol=0):
            raise ArtRLError("moments must be symmetric")
        if not np.trace(self.moments) > 0:
            raise ArtRLError("moments are zero: the solver makes no error on these trajectories")

    @property
    def order(self) -> int:
        """Order of the solver."""
        return ORDERS[self.solver]

    @property
    def levels(self) -> np.ndarray:
        """(N,) geometric middle of each node's step: where its error belongs, to second order."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])

    @property
    def weights(self) -> np.ndarray:
        """(N,) widths of the nodes' steps, the last one down to 0; sum sigma_max."""
        return -np.diff(np.append(self.edges[:-1], 0.0))
