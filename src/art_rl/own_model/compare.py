"""The table that closes `learn`: endpoint errors on held-out noise, paired, and who wins.

Every list starts from the same noise, scaled to its own first level, and is run with the same solver;
e_i is the mean square of the difference to a fine solution of sample i.  Ratios of RMSE are given with
the 95 % interval of a paired bootstrap over samples: an interval that holds 1 is a tie.  An error below
the fine solution's own counts as that one: a sampler that takes the fine solution's own steps would else
have the error 0, and differences within the reference's error would win.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_rl.denoisers.adapters.check import home
from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.seeds import latents
from art_rl.flow.solvers import run_levels
from art_rl.schedules.schedule import Schedule

_REDRAWS = 400


def noise_at(denoiser: Denoiser, sigma_max: float, count: int, first: int = 0) -> Tensor:
    """(count, *shape) float64 states at ``sigma_max`` of seeds from ``first`` on, on the model's device."""
    seeds = range(first, first + count)
    return sigma_max * latents(seeds, denoiser.shape).double().to(home(denoiser))


def spread_of_ends(denoiser: Denoiser, x: Tensor, sigma_max: float, sigma_min: float) -> float:
    """Standard deviation per coordinate of endpoints of Heun solutions: what the model makes of noise."""
    # Only a density's constant depends on it: 18 Heun steps are enough.
    end = reference_solution(denoiser, x, sigma_max, None, 18, sigma_min, "heun", 0).end
    value = float((end - end.mean(0)).square().mean().sqrt())
    if not (math.isfinite(value) and value > 0):
        raise ArtRLError(
            f"the endpoints of the model have a standard deviation of {value}: give wrap sigma_data="
        )
    return value


@dataclass(frozen=True)
class Yardstick:
    """Held-out noise and where a fine solution takes it.

    Attributes:
        noise: (n, *shape) float64, standard normal.
        end: (n, *shape) fine solution at sigma = 0.
        error: RMS change of the fine solution under step doubling, data units.
    """

    noise: Tensor
    end: Tensor
    error: float

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        x: Tensor,
        sigma_max: float,
        sigma_min: float,
        steps: int,
        batch: int,
    ) -> "Yardstick":
        """From starting states ``x`` (n, *shape) at sigma_max; rk4 with ``steps`` steps."""
        ends: list[Tensor] = []
        error = 0.0
        for part in x.split(batch):
            check = 0 if ends else min(16, len(part))
            fine = reference_solution(
                denoiser, part, sigma_max, None, steps, sigma_min, "rk4", check
            )
            ends.append(fine.end)
            error = fine.error if fine.error is not None else error
        return cls(x / sigma_max, torch.cat(ends), float(error))


def allowed(denoiser: Denoiser, schedule: Schedule) -> bool:
    """Whether a list stays within the model's range; a library's own may start above it."""
    limit = getattr(denoiser, "sigma_max", None)
    return limit is None or schedule.sigma_max <= limit * (1 + 1e-6)


@torch.no_grad()
def squared_errors(
    denoiser: Denoiser, schedule: Schedule, solver: str, yardstick: Yardstick, batch: int
) -> np.ndarray:
    """(n,) mean squared endpoint error of every sample; infinite where the solver diverges."""
    levels = torch.tensor(schedule.sigmas, dtype=torch.float64, device=yardstick.noise.device)
    errors = []
    for noise, end in zip(yardstick.noise.split(batch), yardstick.end.split(batch), strict=True):
        *_, x = run_levels(denoiser, noise * schedule.sigma_max, levels, solver)
        errors.append((x - end).flatten(1).square().mean(1))
    values = torch.cat(errors).cpu().numpy()
    return np.where(np.isfinite(values), values, np.inf)


def compare(
    errors: Mapping[str, np.ndarray], yours: str, floor: float = 0.0
) -> list[dict[str, Any]]:
    """One row per list: RMSE, ratio to yours, its 95 % interval, and the verdict on yours against it.

    Args:
        errors: name -> (n,) squared errors on the same samples.
        yours: the name that the others are held against.
        floor: the reference's own error (RMS); an RMSE below it counts as the floor, and its row has
            "at_floor" true.
    """
    n, least = len(errors[yours]), floor**2
    picks = np.random.default_rng(0).integers(n, size=(_REDRAWS, n))
    mine = np.maximum(errors[yours][picks].mean(1), least)
    rows = []
    for name, values in errors.items():
        rmse = float(np.sqrt(np.maximum(values.mean(), least)))
        row: dict[str, Any] = {"name": name, "rmse": rmse if np.isfinite(rmse) else None}
        if values.mean() < least:
            row["at_floor"] = True
        if name != yours:
            with np.errstate(invalid="ignore", divide="ignore"):
                ratios = np.sqrt(np.maximum(values[picks].mean(1), least) / mine)
                ratio = rmse / np.sqrt(np.maximum(errors[yours].mean(), least))
            low, high = np.nanquantile(ratios, [0.025, 0.975]) if np.isfinite(ratio) else (9e9, 9e9)
            row |= {
                "ratio": float(ratio) if np.isfinite(ratio) else None,
                "low": float(low) if np.isfinite(ratio) else None,
                "high": float(high) if np.isfinite(ratio) else None,
                "yours": "wins" if low > 1 else "loses" if high < 1 else "ties",
            }
        rows.append(row)
    return rows


def winner(rows: list[dict[str, Any]], yours: str, eligible: bool) -> str:
    """The name of the list to use: yours if it loses to nobody, else the best other.

    One that is not eligible (not converged, or at the fine solution's own error) must win over all.
    """
    others = [row for row in rows if row["name"] != yours and row["rmse"] is not None]
    own = next(row for row in rows if row["name"] == yours)
    good = {"wins", "ties"} if eligible else {"wins"}
    if own["rmse"] is not None and all(row["yours"] in good for row in others):
        return yours
    return min(others, key=lambda row: row["rmse"])["name"]
