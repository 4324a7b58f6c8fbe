"""The `Profile` file: |Q| and its relatives as measured by profile.py; reading one needs no torch."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.schedules.measurement import Measurement

# (P_mean, P_std): ln sigma ~ N(P_mean, P_std^2) in EDM's training (Karras et al. 2022, table 1).
EDM_NOISE = (-1.2, 1.2)


@dataclass(frozen=True)
class Profile(Measurement):
    """|Q| and its relatives, measured along B trajectories at M levels.

    Attributes:
        levels: (M,) float64, log-spaced, decreasing from sigma_max to sigma_min > 0.
        mean: solver order p (1 to 4) -> (M,) float64, mean over trajectories of |x^(p+1)|;
            mean[1] is E|Q|.  Units: data / sigma^(p+1).
        standard_error: the same keys, standard error of that mean.
        sensitivity: (M,) share of a local error (in the direction of Q) that arrives at sigma = 0:
            mean |Phi(0, sigma) Q| / mean |Q|.  Near 1 at small sigma.
        sensitivity_error: (M,) its standard error.
        table: (B, M) float32, |Q| per trajectory.
        exact: whether the model computes in float64.  If not, |Q| at both ends is not trusted.
        sigma_data: of the model.
        model_digest: SHA-256 of the model.
        settings: estimator, sizes, network cost; JSON-like.  "trained_noise", (P_mean, P_std) of ln sigma in
            training, if it is not EDM's.
    """

    FORMAT: ClassVar = "art_rl.profile/1"
    WHAT: ClassVar = "a |Q| profile"
    ARRAYS: ClassVar = ("levels", "sensitivity", "sensitivity_error", "table")
    NUMBERED: ClassVar = ("mean", "standard_error")

    levels: np.ndarray
    mean: dict[int, np.ndarray]
    standard_error: dict[int, np.ndarray]
    sensitivity: np.ndarray
    sensitivity_error: np.ndarray
    table: np.ndarray
    exact: bool
    sigma_data: float
    model_digest: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        M = len(self.levels)
        if M < 3 or not (np.diff(self.levels) < 0).all() or not self.levels[-1] > 0:
            raise ArtRLError("profile levels must be positive and strictly decreasing, at least 3")
        if self.table.ndim != 2 or self.table.shape[1] != M or 1 not in self.mean:
            raise ArtRLError(f"profile table must be (B, {M}) and mean[1] present")
        arrays = {"sensitivity": self.sensitivity, "sensitivity_error": self.sensitivity_error}
        for order in self.mean:
            arrays[f"mean[{order}]"] = self.mean[order]
            arrays[f"standard_error[{order}]"] = self.standard_error[order]
        for name, values in arrays.items():
            if values.shape != (M,) or not np.isfinite(values).all() or (values < 0).any():
                raise ArtRLError(f"profile {name} must be {M} finite values >= 0")

    @property
    def trained_noise(self) -> tuple[float, float]:
        """(P_mean, P_std) of ln sigma while the network was trained."""
        P_mean, P_std = self.settings.get("trained_noise", EDM_NOISE)
        return float(P_mean), float(P_std)

    @property
    def sigma_max(self) -> float:
        """Highest level."""
        return float(self.levels[0])

    @property
    def sigma_min(self) -> float:
        """Lowest level above 0."""
        return float(self.levels[-1])
