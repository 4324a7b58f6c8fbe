"""Gauss-Newton on the measured endpoint error: the solver itself, at its actual number of steps.

The residual of a schedule is the vector r of endpoint differences to a reference solution from the
same noise, over all training trajectories.  Levels move along a warp of the start's own clock,

    sigma_k = S(k + delta_k),    delta_k = sum_j c_j sin(j pi k / K),  j = 1..min(K - 1, modes),

with S the start's monotone cubic interpolation in the angle arctan(sigma / sigma_data).  The warp
keeps both ends; with modes >= K - 1 it reaches every grid.  Each sweep measures how every step's error
answers to c (one solve per mode), solves the quadratic problem |r + J dc|^2 with Levenberg's damping,
and keeps the result only if the measured error falls.  No surrogate and no asymptotics, but the
problem is not convex: what is found depends on the start, so several starts may be given.

`gauss_newton_schedules` makes the row `gauss_newton` of the tables: from the best of its starts on training
states, kept only if the error on other states falls too; what it cost and whether it helped is in the
provenance of every schedule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor
from tqdm import tqdm

from art_rl.checks import given
from art_rl.denoisers.base import Denoiser, is_exact
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import check_solver, nfe, solve
from art_rl.flow.trajectory import check_states
from art_rl.schedules.schedule import Schedule

# Neighbouring nodes keep at least this share of a start step between them.
_SMALLEST_STEP = 0.02
# A sweep that lowers the squared error by less than this share is the last one.
_LEAST_GAIN = 3e-4


@dataclass(frozen=True)
class _Sizes:
    """Of a row of the tables: an exact model's calls cost next to nothing, a network pays for every one."""

    states: int
    modes: int
    sweeps: int
    reference_steps: int
    check: int


EXACT, NETWORK = _Sizes(768, 10, 8, 96, 64), _Sizes(64, 6, 4, 32, 16)


class _Warp:
    """Levels as a smooth function of the warp's coefficients."""

    def __init__(self, start: Schedule, sigma_data: float, modes: int) -> None:
        self.ends = start.sigmas[0], start.sigmas[-1]
        self.scale = sigma_data
        self.k = np.arange(start.K + 1)
        self.angle = scipy.interpolate.PchipInterpolator(
            self.k, np.arctan(start.numpy() / sigma_data)
        )
        j = np.arange(1, min(start.K - 1, modes) + 1)
        self.basis = np.sin(np.pi * np.outer(self.k, j) / start.K)

    def __call__(self, c: np.ndarray) -> np.ndarray | None:
        """Levels (K + 1,), or None if nodes would come too close or cross."""
        u = self.k + self.basis @ c
        if (np.diff(u) <= _SMALLEST_STEP).any():
            return None
        sigmas = self.scale * np.tan(self.angle(u))
        sigmas[0], sigmas[-1] = self.ends
        return sigmas if (np.diff(sigmas) < 0).all() else None


@torch.no_grad()
def refine_schedule(
    denoiser: Denoiser,
    x_start: Tensor,
    end: Tensor,
    starts: Sequence[Schedule],
    solver: str,
    modes: int = 12,
    sweeps: int = 16,
    class_labels: Tensor | None = None,
    model: str | None = None,
    progress: bool = False,
) -> Schedule:
    """Minimise the root-mean-square endpoint error of ``solver`` over schedules of K steps.

    Args:
        x_start: (B, *shape) training states at sigma_max; B D must be well above ``modes``.
        end: (B, *shape) reference endpoints of the same states (`reference.reference_solution`).
        starts: schedules of one K to begin from; each is refined, the best result is returned.
        solver: a key of SOLVERS.
        modes: coefficients of the warp, >= 1.
        sweeps: largest number of Gauss-Newton sweeps per start; stops when the squared error falls by
            less than 0.03 % in a sweep.
        class_labels: None or one-hot (B, label_dim).

    Returns:
        Schedule with method "gauss_newton"; details: training RMSE before and after, sweeps, cost.

    Cost per start and sweep: min(K - 1, modes) + 1 or a few more solves of NFE network calls.

    Raises:
        ArtRLError: no starts, starts of different K or sigma_max, shapes that do not match.
    """
    check_solver(solver)
    x_start = check_states(denoiser, x_start, class_labels)
    if end.shape != x_start.shape:
        raise ArtRLError(
            f"end must have x_start's shape {tuple(x_start.shape)}, got {tuple(end.shape)}"
        )
    if not starts or len({(start.K, start.sigma_max) for start in starts}) != 1:
        raise ArtRLError("starts must be at least one schedule, all of the same K and sigma_max")
    if modes < 1 or sweeps < 0:
        raise ArtRLError(f"modes must be >= 1 and sweeps >= 0, got {modes} and {sweeps}")
    own = None if class_labels is None else class_labels[:1]
    level = torch.tensor(starts[0].sigma_max)
    exact = denoiser(x_start[:1], level, own).dtype == torch.float64
    best, solves = None, 0
    for start in tqdm(starts, desc="Gauss-Newton", disable=not progress, leave=False):
        warp = _Warp(start, float(denoiser.sigma_data), modes)

        def residual(c: np.ndarray, warp: _Warp = warp) -> np.ndarray | None:
            nonlocal solves
            sigmas = warp(c)
            if sigmas is None:
                return None
            solves += 1
            x = solve(denoiser, x_start, Schedule(tuple(sigmas)), solver, class_labels)
            r = (x - end).flatten().cpu().numpy()
            return r if np.isfinite(r).all() else None

        found = _gauss_newton(residual, warp.basis.shape[1], sweeps, 1e-4 if exact else 1e-2)
        if found is not None and (best is None or found[1] < best[1]):
            best = (warp(found[0]), *found[1:], start.provenance.get("method"))
    if best is None:
        raise ArtRLError("every start gives an endpoint error that is not finite")
    sigmas, after, before, count, origin = best
    K = len(sigmas) - 1
    details = {
        "start": origin,
        "training_rmse_start": before,
        "training_rmse": after,
        "sweeps": count,
        "modes": min(K - 1, modes),
        "trajectories": len(x_start),
        "evaluations": solves * nfe(solver, K) * len(x_start),
    }
    return Schedule.found(sigmas, "gauss_newton", details, solver, model, denoiser.digest)


@torch.no_grad()
def gauss_newton_schedules(
    denoiser: Denoiser,
    x_train: Tensor,
    x_valid: Tensor,
    sigma_max: float,
    sigma_min: float,
    solver: str,
    starts: Mapping[int, Mapping[str, Schedule]],
    class_labels: tuple[Tensor | None, Tensor | None] = (None, None),
    model: str | None = None,
    progress: bool = False,
) -> dict[int, Schedule]:
    """For every K the best start, refined on the measured endpoint error of ``solver``.

    Args:
        x_train, x_valid: (B, *shape) and (V, *shape) states at sigma_max: to refine on, and to judge the
            result on.  The first 768 of each are used, 64 for networks.
        sigma_max, sigma_min: range in data units.
        solver: a key of SOLVERS.
        starts: K -> name -> schedule of K steps; the one of least training error is refined.
        class_labels: None or one-hot labels of both sets.

    Returns:
        K -> schedule.  details: "start"; "verdict": "improved" if the root-mean-square error on x_valid fell
        by more than twice its paired standard error, "tie" if by less, "not improved on its start" if
        it did not fall (the start is returned then), "within the reference's error" if start or gain
        are below that; "valid_rmse_start", "valid_rmse", "reference_error"; "evaluations": denoiser
        evaluations of one sample spent on this K, and "reference_evaluations", shared by all K.

    Raises:
        ArtRLError: as `refine_schedule`; a K without starts.
    """
    sizes = EXACT if is_exact(denoiser) else NETWORK
    sets = []
    for x, labels in zip((x_train, x_valid), class_labels, strict=True):
        part = check_states(denoiser, x, labels)[: sizes.states]
        own = None if labels is None else labels[: sizes.states]
        fine = reference_solution(
            denoiser, part, sigma_max, own, sizes.reference_steps, sigma_min, check=sizes.check
        )
        sets.append((part, own, fine))
    (x, labels, reference), (x_v, labels_v, reference_v) = sets
    shared = sum(its.evaluations for _, _, its in sets)
    floor = max(given(its.error, "the reference's error") for _, _, its in sets)

    def squares(schedule: Schedule, x: Tensor, labels: Tensor | None, end: Tensor) -> Tensor:
        """Squared endpoint error of every sample, (B,), infinite where the solver broke down."""
        error = (solve(denoiser, x, schedule, solver, labels) - end).square().flatten(1).mean(1)
        return torch.nan_to_num(error.double(), nan=torch.inf)

    found = {}
    for K, named in starts.items():
        if not named:
            raise ArtRLError(f"starts[{K}] must hold at least one schedule, got none")
        errors = {n: float(squares(s, x, labels, reference.end).mean()) for n, s in named.items()}
        name = min(errors, key=errors.__getitem__)
        refined = refine_schedule(
            denoiser,
            x,
            reference.end,
            [named[name]],
            solver,
            sizes.modes,
            sizes.sweeps,
            labels,
            model,
            progress,
        )
        before = squares(named[name], x_v, labels_v, reference_v.end)
        after = squares(refined, x_v, labels_v, reference_v.end)
        verdict = _verdict(before, after, floor)
        kept = refined if verdict in ("improved", "tie") else named[name]
        calls = nfe(solver, K)
        details = refined.provenance["details"]
        details |= {
            "start": name,
            "verdict": verdict,
            "valid_rmse_start": float(before.mean().sqrt()),
            "valid_rmse": float((after if kept is refined else before).mean().sqrt()),
            "reference_error": floor,
            "evaluations": details["evaluations"] + calls * (len(named) * len(x) + 2 * len(x_v)),
            "reference_evaluations": shared,
        }
        found[K] = Schedule(kept.sigmas, {**refined.provenance, "details": details})
    return found


def _verdict(before: Tensor, after: Tensor, floor: float) -> str:
    """What refining did to the squared errors (V,) of the same states; ``floor``: of the reference."""
    start, end = float(before.mean().sqrt()), float(after.mean().sqrt())
    if not end < start:
        return "not improved on its start"
    if start <= floor or start - end <= floor:
        return "within the reference's error"
    gain = before - after
    spread = float(gain.std() / len(gain) ** 0.5)
    return "improved" if float(gain.mean()) > 2 * spread else "tie"


def _gauss_newton(residual, size: int, sweeps: int, probe: float):
    """Levenberg-damped Gauss-Newton from 0: (c, RMSE, RMSE at 0, sweeps done), None if r(0) is bad."""
    c = np.zeros(size)
    r = residual(c)
    if r is None:
        return None
    before, damping, done = float(np.sqrt(np.mean(r**2))), 1e-2, 0
    for _ in range(sweeps if size else 0):
        columns = []
        for j in range(size):
            for step in (probe, -probe):  # the other side if this one makes nodes collide
                moved = residual(c + step * np.eye(size)[j])
                if moved is not None:
                    break
            columns.append(np.zeros_like(r) if moved is None else (moved - r) / step)
        J = np.array(columns).T
        H, gradient = J.T @ J, J.T @ r
        scale = np.diag(H) + 1e-9 * np.trace(H) + 1e-300
        old = r @ r
        for _ in range(8):
            candidate = c - np.linalg.solve(H + damping * np.diag(scale), gradient)
            moved = residual(candidate)
            if moved is not None and moved @ moved < r @ r:
                c, r, damping = candidate, moved, max(damping / 5, 1e-8)
                break
            damping *= 5
        done += 1
        if r @ r > (1 - _LEAST_GAIN) * old:
            break
    return c, float(np.sqrt(np.mean(r**2))), before, done
