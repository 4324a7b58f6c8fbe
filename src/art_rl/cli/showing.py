"""`art-rl show`."""

import argparse
import math
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.schedules.schedule import Schedule

_WIDTH = 48


def run_show(given: argparse.Namespace) -> int:
    """Print every file; with --model their errors; with --plot a figure."""
    schedules = {path: Schedule.load(path) for path in given.files}
    for path, schedule in schedules.items():
        print(describe(path, schedule))
        print()
    if given.model:
        print(_errors(given, schedules))
    if given.plot:
        _plot(given.plot, schedules)
        print(f"wrote {given.plot}")
    return 0


def describe(name: str, schedule: Schedule) -> str:
    """Levels, their place on a logarithmic scale, provenance and verdict, as text."""
    facts = schedule.provenance
    made = facts.get("method", "unknown method")
    head = f"{name}: {schedule.K} steps, made by {made} for solver {facts.get('solver', 'any')}"
    low, high = (math.log(level) for level in (schedule.sigmas[-2], schedule.sigmas[0]))
    lines = [head]
    for k, level in enumerate(schedule.sigmas):
        place = (
            0 if level == 0 else 1 + (_WIDTH - 1) * (math.log(level) - low) / max(high - low, 1e-9)
        )
        lines.append(f"  {k:3d}  {level:12.6g}  {'#' * round(place)}")
    if schedule.network_levels is not None:
        told = ", ".join(f"{level:.6g}" for level in schedule.network_levels[:-1])
        lines.append(f"  the denoiser is told other levels: {told}")
    for key in ("model", "model_digest", "budget", "seed"):
        if facts.get(key) is not None:
            lines.append(f"  {key}: {str(facts[key])[:64]}")
    details: Any = facts.get("details") or {}
    if facts.get("budget", schedule.K) != schedule.K:
        lines.append(
            f"  resampled: verdict and errors of the {facts['budget']} steps are not its own"
        )
        details = {}
    for key in ("converged", "verdict", "recommended"):
        if key in details:
            lines.append(f"  {key}: {details[key]}")
    for other, rmse in (details.get("held_out") or {}).items():
        lines.append(f"  endpoint RMSE, {other}: {'diverges' if rmse is None else f'{rmse:.4g}'}")
    return "\n".join(lines)


def _errors(given: argparse.Namespace, schedules: dict[str, Schedule]) -> str:
    from art_rl.cli.models import model_from
    from art_rl.own_model.measure import measure

    denoiser = model_from(given.model, given.shape)
    made_for = next(iter(schedules.values())).provenance.get("solver", "any")
    solver, coordinates = given.solver or ("euler" if made_for == "any" else made_for), "sigma"
    if solver.endswith("_flow"):
        solver, coordinates = solver.removesuffix("_flow"), "flow"
    return measure(
        denoiser, schedules, solver=solver, coordinates=coordinates,
        states=given.states, seed=given.seed,
    )  # fmt: skip


def _plot(path: str, schedules: dict[str, Schedule]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from art_rl.files import atomic_path

    if Path(path).suffix not in (".png", ".pdf", ".svg"):
        raise ArtRLError(f"--plot must end in .png, .pdf or .svg, got {path!r}")
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for name, schedule in schedules.items():
        share = [k / schedule.K for k in range(schedule.K)]
        axes.semilogy(share, schedule.sigmas[:-1], marker="o", markersize=3, label=Path(name).stem)
    axes.set(xlabel="share of the steps, k / K", ylabel="noise level sigma")
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=200)
    pyplot.close(figure)
