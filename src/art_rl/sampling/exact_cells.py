"""Cells of exact models: one (model, method, solver, K, seed block) measured in two ways.

    rmse    root mean square, over samples and coordinates, of the difference between the sampler's
            endpoint and a fine reference solution from the same noise: the discretisation error
    w2      1-D targets: Wasserstein-2 distance of the samples to the exact target (2601.18681, Table 1)

Beside w2 stand two floors per block: the reference solution's own w2 (the same noise, no
discretisation error) and the w2 of exact samples of the same size.

The noise of a seed block is the same for every method, solver and K, so cells are paired.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from art_rl.denoisers.base import CountingDenoiser
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import nfe, solve
from art_rl.metrics.wasserstein import MixtureQuantiles, sampling_floor
from art_rl.sampling.experiment import Experiment
from art_rl.schedules.schedule import Schedule

# Repeats behind the floor of exact samples: its mean is then known to about 5 % of its spread.
FLOOR_REPEATS = 50


@dataclass(frozen=True)
class Block:
    """One seed block: where the sampler starts and where it should end.

    Attributes:
        start: (n, *shape) float64 states at sigma_max.
        end: (n, *shape) float64 reference endpoints.
    """

    start: torch.Tensor
    end: torch.Tensor


def make_blocks(
    experiment: Experiment, samples: int, seed_blocks: int, seed: int, reference_steps: int
) -> tuple[list[Block], dict[str, Any]]:
    """Starting noise and reference endpoints of every seed block.

    Args:
        experiment: exact model.
        samples: points per block, >= 2.
        seed_blocks: number of blocks, >= 1; block b is drawn with seed ``seed + b``.
        seed: first seed.
        reference_steps: RK4 steps of the reference solution.

    Returns:
        the blocks, and a JSON-like description: digest of the model, seeds, the reference's own
        error and NFE and, for 1-D targets, the floors of w2.
    """
    blocks, errors, calls = [], [], 0
    for index in range(seed_blocks):
        start = experiment.draw(samples, seed + index)
        reference = reference_solution(
            experiment.denoiser,
            start,
            experiment.sigma_max,
            steps=reference_steps,
            sigma_min=experiment.sigma_min,
        )
        blocks.append(Block(start, reference.end))
        errors.append(reference.error)
        calls = reference.nfe
    facts: dict[str, Any] = {
        "model": experiment.name,
        "model_digest": experiment.denoiser.digest,
        "samples": samples,
        "seeds": [seed + index for index in range(seed_blocks)],
        "reference_error": errors,
        "reference_nfe": calls,
    }
    if experiment.denoiser.dim == 1:
        quantiles = MixtureQuantiles(experiment.denoiser, samples)
        floor = sampling_floor(experiment.denoiser, samples, FLOOR_REPEATS, seed + 10_000)
        facts["w2_reference"] = [quantiles.w2(block.end.numpy()) for block in blocks]
        facts["w2_floor"] = {
            "mean": float(floor.mean()),
            "sd": float(floor.std(ddof=1)),
            "repeats": FLOOR_REPEATS,
        }
    return blocks, facts


def evaluate_cells(
    experiment: Experiment, blocks: list[Block], schedules: Iterable[Schedule], solver: str
) -> list[dict[str, Any]]:
    """One row per schedule and block.

    Args:
        experiment: exact model.
        blocks: from `make_blocks`.
        schedules: with their method in the provenance; made for this model's sigma_max.
        solver: a key of solvers.SOLVERS.

    Returns:
        rows {model, method, solver, K, nfe, block, samples, rmse[, w2], converged}; ``nfe`` is
        counted, ``converged`` is the learner's own verdict (True for methods that do not learn).

    Raises:
        ArtRLError: a schedule starts at another level or was made for another model; the counted
            NFE differs from the solver's formula; an endpoint is not finite.
    """
    samples = len(blocks[0].start)
    quantiles = None
    if experiment.denoiser.dim == 1:
        quantiles = MixtureQuantiles(experiment.denoiser, samples)
    rows = []
    for schedule in schedules:
        method = schedule.method
        _check_fits(schedule, experiment)
        for index, block in enumerate(blocks):
            counter = CountingDenoiser(experiment.denoiser)
            with torch.no_grad():
                end = solve(counter, block.start, schedule, solver)
            if counter.calls != nfe(solver, schedule.K):
                raise ArtRLError(
                    f"{method}, {solver}, K = {schedule.K}: counted {counter.calls} network calls, "
                    f"expected {nfe(solver, schedule.K)}"
                )
            if not torch.isfinite(end).all():
                raise ArtRLError(f"{method}, {solver}, K = {schedule.K}: samples are not finite")
            row = {
                "model": experiment.name,
                "method": method,
                "solver": solver,
                "K": schedule.K,
                "nfe": counter.calls,
                "block": index,
                "samples": samples,
                "rmse": float((end - block.end).square().mean().sqrt()),
                "converged": schedule.converged,
            }
            if quantiles is not None:
                row["w2"] = quantiles.w2(end.numpy())
            rows.append(row)
    return rows


def _check_fits(schedule: Schedule, experiment: Experiment) -> None:
    name = f"{schedule.method}, K = {schedule.K}"
    if not np.isclose(schedule.sigma_max, experiment.sigma_max, rtol=1e-12, atol=0):
        raise ArtRLError(
            f"{name}: the schedule starts at sigma = {schedule.sigma_max}, "
            f"{experiment.name} at sigma_max = {experiment.sigma_max}"
        )
    made_for = schedule.provenance.get("model_digest")
    if made_for is not None and made_for != experiment.denoiser.digest:
        raise ArtRLError(
            f"{name}: the schedule was made for model {made_for[:12]}, "
            f"{experiment.name} is {experiment.denoiser.digest[:12]}"
        )
