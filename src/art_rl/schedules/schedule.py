"""Schedule: the K+1 noise levels a sampler visits, immutable, validated, with provenance.

sigma_0 = sigma_max > sigma_1 > ... > sigma_K = 0 exactly.  K is the number of solver steps.
The JSON file is the artifact users take away: Python prints the shortest decimal that reads back to
the same float64, so saving and loading is exact to the last bit.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.files import json_like, read_json, write_json
from art_rl.records import versions

FORMAT = "art_rl.schedule"
FORMAT_VERSION = 1
BY_HAND = "by hand"  # method of a schedule whose provenance names none

# What a provenance may hold.  All optional: a list of levels typed by hand is a valid schedule.
PROVENANCE_FIELDS = frozenset(
    {
        "method",  # how the levels were found: "edm", "quadrature", "art_rl_feedback", ...
        "model",  # name of the model they were found on
        "model_digest",  # SHA-256 of that model
        "budget",  # K the levels were made for (differs from K after resampling)
        "solver",  # solver the levels were made for, or "any"
        "seed",  # random seed of the learner
        "config_digest",  # SHA-256 of the settings that produced the levels
        "versions",  # {"art_rl": ..., "torch": ..., ...}
        "details",  # anything else, JSON-like, e.g. {"converged": true}
    }
)


def validate_sigmas(
    sigmas: Sequence[float] | np.ndarray, name: str = "sigmas"
) -> tuple[float, ...]:
    """Return ``sigmas`` as a tuple of floats, or raise ArtRLError naming the index and the value.

    Rules: one-dimensional, at least two levels, all finite, strictly decreasing, last exactly 0.
    """
    try:
        raw = np.asarray(sigmas)
        # Text and truth values would become numbers without a word, in a list of numbers too.
        parts = () if isinstance(sigmas, np.ndarray) else sigmas
        if raw.dtype.kind not in "fiuO" or any(isinstance(x, str | bool | np.bool_) for x in parts):
            raise TypeError
        array = raw.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ArtRLError(f"{name} must be a list of numbers, got {sigmas!r:.120}") from None
    if array.ndim != 1 or array.size < 2:
        raise ArtRLError(
            f"{name} must be a flat list of at least 2 noise levels, got shape {array.shape}"
        )
    for index, value in enumerate(array):
        if not math.isfinite(value):
            raise ArtRLError(f"{name}[{index}] must be finite, got {value}")
    if array[-1] != 0.0:
        raise ArtRLError(
            f"{name}[{array.size - 1}] (the last level) must be exactly 0, got {array[-1]}"
        )
    for index in range(1, array.size):
        if not array[index] < array[index - 1]:
            raise ArtRLError(
                f"{name} must be strictly decreasing, but {name}[{index}] = {array[index]} is not "
                f"below {name}[{index - 1}] = {array[index - 1]}"
            )
    return tuple(float(value) for value in array)


@dataclass(frozen=True)
class Schedule:
    """K+1 noise levels and where they came from.

    Args:
        sigmas: levels in data units, float64, strictly decreasing, last exactly 0.
        provenance: JSON-like mapping with keys from PROVENANCE_FIELDS; NumPy values become plain ones.

    Raises:
        ArtRLError: a level breaks a rule (index and value named), a provenance key is unknown, or a value
            is nothing that JSON can hold.
    """

    sigmas: tuple[float, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", validate_sigmas(self.sigmas))
        for key in self.provenance:
            if key not in PROVENANCE_FIELDS:
                known = ", ".join(sorted(PROVENANCE_FIELDS))
                raise ArtRLError(f"provenance has the unknown key {key!r}; known keys: {known}")
        facts = json_like(self.provenance, "provenance")
        object.__setattr__(self, "provenance", MappingProxyType(facts))
        told = self.network_levels
        if told is not None:
            numbers = all(isinstance(t, float | int) and 0 <= t < math.inf for t in told)
            if not (numbers and len(told) == len(self.sigmas) and all(told[:-1])):
                raise ArtRLError(
                    f"network_levels (provenance, details) must be K + 1 = {len(self.sigmas)} finite "
                    f"levels, all but the last above 0, got {list(told)!r:.120}"
                )

    def __reduce__(self) -> tuple:
        # The read-only view of the provenance can be neither pickled nor copied.
        return Schedule, (self.sigmas, dict(self.provenance))

    @property
    def K(self) -> int:
        """Number of solver steps."""
        return len(self.sigmas) - 1

    @property
    def sigma_max(self) -> float:
        """First level."""
        return self.sigmas[0]

    @property
    def method(self) -> str:
        """How the levels were found, "by hand" if the provenance does not say."""
        return str(self.provenance.get("method", BY_HAND))

    @property
    def converged(self) -> bool:
        """The verdict of the learner behind the levels; True if nothing was learned."""
        details = self.provenance.get("details")
        return bool(details.get("converged", True)) if isinstance(details, dict) else True

    @property
    def network_levels(self) -> tuple[float, ...] | None:
        """(K + 1,) levels that the denoiser is told in place of ``sigmas``, or None: these themselves.

        Only LD3 with decoupled levels has them, in ``provenance["details"]``; `solve` heeds them.
        """
        details = self.provenance.get("details")
        told = details.get("network_levels") if isinstance(details, dict) else None
        return None if told is None else tuple(told if isinstance(told, list | tuple) else [told])

    def require_plain(self, use: str) -> None:
        """Raise ArtRLError, naming the ``use``, if the denoiser is told other levels than ``sigmas``."""
        if self.network_levels is not None:
            raise ArtRLError(
                f"{use} cannot be done with decoupled levels ({self.method} tells the denoiser other levels "
                "than the solver's formulas use); Schedule(schedule.sigmas) is the list alone"
            )

    def numpy(self) -> np.ndarray:
        """Levels as a fresh float64 array of shape (K + 1,)."""
        return np.array(self.sigmas, dtype=np.float64)

    def resample(self, K: int) -> "Schedule":
        """The same clock read at K + 1 equidistant times (2607.02137, transfer across budgets).

        The remaining time T - psi = sigma is interpolated log-linearly over k / K; on the last
        interval, where log sigma has no finite end, linearly.  (The paper does not say how it
        treats that interval; this is our choice, and it makes resampling to the same K exact.)

        Raises:
            ArtRLError: K < 1; decoupled levels.
        """
        check_budget(K)
        if K == self.K:
            return self
        self.require_plain("resample")
        levels = self.numpy()
        position = np.arange(K + 1) * (self.K / K)
        index = np.minimum(position.astype(int), self.K - 1)
        share = position - index
        left, right = levels[index], levels[index + 1]
        with np.errstate(divide="ignore"):
            geometric = np.exp(
                (1 - share) * np.log(left) + share * np.log(np.maximum(right, 1e-300))
            )
        sigmas = np.where(right > 0, geometric, (1 - share) * left)
        sigmas[0], sigmas[-1] = levels[0], 0.0
        return Schedule(tuple(sigmas), self.provenance)

    @classmethod
    def found(
        cls,
        sigmas: Sequence[float] | np.ndarray,
        method: str,
        details: Mapping[str, Any],
        solver: str = "any",
        model: str | None = None,
        model_digest: str | None = None,
        seed: int | None = None,
        config_digest: str | None = None,
    ) -> "Schedule":
        """Levels that ``method`` found for ``solver``, with the provenance every such schedule carries.

        Its budget is the number of steps, its versions are those of now; what is None is left out.

        Raises:
            ArtRLError: as the class.
        """
        facts = {
            "method": method,
            "model_digest": model_digest,
            "budget": len(sigmas) - 1,
            "solver": solver,
            "seed": seed,
            "config_digest": config_digest,
            "versions": versions(),
            "details": details,
            "model": model,
        }
        return cls(tuple(sigmas), {key: fact for key, fact in facts.items() if fact is not None})

    def with_provenance(self, **facts: Any) -> "Schedule":
        """The same levels with further provenance entries (keys from PROVENANCE_FIELDS)."""
        return Schedule(self.sigmas, {**self.provenance, **facts})

    def to(self, kind: str, **options: Any) -> Any:
        """The levels in another library's convention, checked by converting back.

        Args:
            kind: one of

                "sigmas": K + 1 levels with the final 0 (k-diffusion, ComfyUI): float64 array, or with
                ``like=x`` a tensor of x's dtype and device, which is what those samplers want.

                "timesteps": (K,) fractional positions in a variance-preserving table, float64, given
                ``scheduler=`` (a diffusers scheduler, or its configuration as a mapping) or ``table=``
                (alphas_cumprod, (N,)).  ``rounded=True``: whole numbers, int64, which are *not* these
                levels (off by per cents).

                "flow": (K,) flow times t = sigma / (1 + sigma) in (0, 1), float64, without the final 0,
                before a scheduler's own ``shift=`` (default 1) or dynamic ``mu=``: what to pass as
                ``sigmas=`` to a FlowMatchEulerDiscreteScheduler.

                "azula": a noise schedule for azula's samplers of K steps.  ``sampler=`` (class, object
                or name, default "EulerSampler") is the sampler it is for, ``last=`` its final level
                (default 0; HeunSampler and the multistep ones need one above 0).
            options: those named above.

        Raises:
            ArtRLError: unknown kind or option; a level that the convention cannot hold, with the reason;
                decoupled levels.
        """
        from art_rl.schedules.handover import convert

        self.require_plain(f"to({kind!r})")
        return convert(self.numpy(), kind, **options)

    def apply(self, scheduler: Any, pin: bool = True) -> Any:
        """Make a diffusers scheduler visit exactly these levels; returns the same scheduler.

        Levels and times are written and read back (relative difference of a level at most 1e-6).

        Args:
            scheduler: EulerDiscrete, EulerAncestralDiscrete, HeunDiscrete, DPMSolverMultistep,
                UniPCMultistep, EDMEuler, EDMDPMSolverMultistep, FlowMatchEulerDiscrete or
                FlowMatchHeunDiscrete scheduler, changed in place.
            pin: replace ``set_timesteps`` of this object, so that a pipeline called with
                ``num_inference_steps=K`` keeps the levels; another number of steps is an ArtRLError.

        Raises:
            ArtRLError: decoupled levels; another class, a level above the model's table, settings under
                which the last step is not finite or the sample starts elsewhere; level and cause are named.

        Warns once where levels lie below the model's table, a flow list starts far below time 1, or the
        schedule was made for another solver.
        """
        from art_rl.schedules.handover import apply

        self.require_plain("apply")
        return apply(self, scheduler, pin)

    def save(self, path: str | os.PathLike) -> None:
        """Write the schedule as JSON with the digest of its content, atomically."""
        head = {"format": FORMAT, "version": FORMAT_VERSION}
        content = {"sigmas": list(self.sigmas), "provenance": dict(self.provenance)}
        write_json(path, {**head, **content})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Schedule":
        """Read a schedule; any deviation from the format is an ArtRLError naming file and field.

        A file with a digest (``content_sha256``, as `save` writes it) must fit it; one without, typed by
        hand or made by another program, is read as it is.
        """
        value = read_json(path)
        if not isinstance(value, dict):
            raise ArtRLError(
                f"{path}: a schedule file is a JSON object, got {type(value).__name__}"
            )
        expected = {"format", "version", "sigmas", "provenance"}
        for key in sorted(set(value) ^ expected):
            fault = "unknown" if key in value else "missing"
            raise ArtRLError(f"{path}: {fault} field {key!r}; fields: {sorted(expected)}")
        if value["format"] != FORMAT or value["version"] != FORMAT_VERSION:
            raise ArtRLError(
                f"{path}: format/version must be {FORMAT!r}/{FORMAT_VERSION}, "
                f"got {value['format']!r}/{value['version']!r}"
            )
        if not isinstance(value["provenance"], dict):
            raise ArtRLError(
                f"{path}: provenance must be an object, got {value['provenance']!r:.80}"
            )
        if not isinstance(value["sigmas"], list):
            raise ArtRLError(f"{path}: sigmas must be a list, got {value['sigmas']!r:.80}")
        for index, level in enumerate(value["sigmas"]):
            if isinstance(level, bool) or not isinstance(level, int | float):
                raise ArtRLError(f"{path}: sigmas[{index}] must be a number, got {level!r:.80}")
        try:
            return cls(tuple(value["sigmas"]), value["provenance"])
        except ArtRLError as error:
            raise ArtRLError(f"{path}: {error}") from None


def check_sigma_range(sigma_min: float, sigma_max: float) -> None:
    """Raise ArtRLError unless 0 <= sigma_min < sigma_max, both finite."""
    if not (math.isfinite(sigma_min) and math.isfinite(sigma_max) and 0 <= sigma_min < sigma_max):
        raise ArtRLError(
            f"noise levels must satisfy 0 <= sigma_min < sigma_max < inf, "
            f"got sigma_min = {sigma_min}, sigma_max = {sigma_max}"
        )


def check_positive_range(sigma_min: float, sigma_max: float, whose: str) -> None:
    """Raise ArtRLError, naming ``whose`` range it is, unless 0 < sigma_min < sigma_max, both finite."""
    check_sigma_range(sigma_min, sigma_max)
    if sigma_min <= 0:
        raise ArtRLError(f"{whose} needs sigma_min > 0, got {sigma_min}")
