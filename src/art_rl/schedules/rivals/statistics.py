"""What rival schedules measure of a model, kept in one file: measured once, drawn once, read by all.

All expectations are over data x_0 and one noise path per sample: x at level s_j is x at the next lower
level plus fresh noise, as in the forward process.  Squares are per coordinate.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.schedules.measurement import Measurement
from art_rl.schedules.rivals.path import ended
from art_rl.schedules.schedule import Schedule


@dataclass(frozen=True)
class RivalStatistics(Measurement):
    """Statistics of one model.

    Attributes:
        levels: (M,) float64, log-spaced, decreasing from sigma_max to sigma_min > 0.
        denoising_error: (M,) E |D(x_s; s) - x_0|^2 (rescaled entropic, ELBO).
        score_change: (M - 1,) E |score(x, s_k) - score(x, s_{k+1})|^2, x at the lower level s_{k+1}
            (score-optimal).
        denoiser_change: (M, M) E |D(x_j; s_j) - D(x_i; s_i)|^2 for i < j, x_i the noisier state of the
            same path; symmetric, 0 on the diagonal (Align Your Steps).
        teacher_levels: (N,) levels of the GITS teacher, decreasing from sigma_max to sigma_min.
        jump_cost: (N, N) `gits.jump_costs` of that teacher.
        evaluations: name of a statistic -> network evaluations it took, one per sample and call.
        model_digest: SHA-256 of the model.
        settings: sizes, seeds; JSON-like.
    """

    FORMAT: ClassVar = "art_rl.rival_statistics/1"
    WHAT: ClassVar = "rival statistics"
    ARRAYS: ClassVar = (
        "levels",
        "denoising_error",
        "score_change",
        "denoiser_change",
        "teacher_levels",
        "jump_cost",
    )

    levels: np.ndarray
    denoising_error: np.ndarray
    score_change: np.ndarray
    denoiser_change: np.ndarray
    teacher_levels: np.ndarray
    jump_cost: np.ndarray
    evaluations: dict[str, int]
    model_digest: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        M, N = len(self.levels), len(self.teacher_levels)
        shapes = ((M,), (M,), (M - 1,), (M, M), (N,), (N, N))
        for name, shape in zip(self.ARRAYS, shapes, strict=True):
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ArtRLError(f"rival statistics: {name} must be finite and of shape {shape}")
        for name in ("levels", "teacher_levels"):
            value = getattr(self, name)
            if len(value) < 3 or not (np.diff(value) < 0).all() or not value[-1] > 0:
                raise ArtRLError(
                    f"rival statistics: {name} must be positive, decreasing, 3 or more"
                )
        for name in ("denoising_error", "score_change", "denoiser_change"):
            if (getattr(self, name) < 0).any():
                raise ArtRLError(f"rival statistics: {name} must not be negative")

    def schedule(
        self, levels: np.ndarray, method: str, used: str, model: str | None, **details: Any
    ) -> Schedule:
        """The K + 1 ``levels`` that ``method`` found from the statistic ``used``, ended at 0."""
        facts = {"evaluations": self.evaluations[used], "statistics": dict(self.settings)}
        return ended(levels, method, {**details, **facts}, model, self.model_digest)
