"""Endpoint errors of given lists beside the library's own, on common noise: `art-rl show --model`."""

from collections.abc import Mapping

from art_rl.checks import check_whole
from art_rl.denoisers.adapters.check import check_denoiser
from art_rl.denoisers.base import CountingDenoiser, Denoiser
from art_rl.errors import ArtRLError
from art_rl.own_model.compare import Yardstick, allowed, noise_at, spread_of_ends, squared_errors
from art_rl.own_model.defaults import library_defaults
from art_rl.own_model.methods import Problem, solve_with
from art_rl.own_model.solver import known_as
from art_rl.own_model.spending import REFERENCE_STEPS
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule


def measure(
    denoiser: Denoiser,
    schedules: Mapping[str, Schedule],
    solver: str = "euler",
    coordinates: str = "sigma",
    states: int = 128,
    seed: int = 1,
) -> str:
    """A table of endpoint RMSE (data units): the given lists, the library's, the closed form, gaussian.

    Args:
        denoiser: from `art_rl.wrap` or of this package.
        schedules: name -> list; each begins where it begins, from the same noise.
        solver, coordinates: as in `learn`.
        states: held-out noises, >= 2.

    Raises:
        ArtRLError: the denoiser fails a check; a list above the model's range, or one of decoupled levels.
    """
    check_whole("states", states, 2)
    for schedule in schedules.values():
        schedule.require_plain("measure")
    own = (getattr(denoiser, "sigma_max", None), getattr(denoiser, "sigma_min", None))
    high = float(own[0] or max(s.sigma_max for s in schedules.values()))
    low = float(own[1] or 0.002)
    check_denoiser(denoiser, high, low)
    batch = 64 if len(denoiser.shape) > 1 else 1024
    x = noise_at(denoiser, high, states, seed * 1_000_003)
    told = CountingDenoiser(denoiser)
    if told.sigma_data is None:
        # As in `learn`: kept here, not on the caller's object.
        told.sigma_data = spread_of_ends(denoiser, x[:32], high, low)
    lines = []
    with known_as(solver, coordinates) as name:
        yardstick = Yardstick.of(denoiser, x, high, low, REFERENCE_STEPS, batch)
        budgets = tuple(sorted({s.K for s in schedules.values()}))
        problem = Problem(told, x, x, high, low, name, budgets, 1, seed, batch, False)
        try:
            closed = solve_with("quadrature", problem)
        except ArtRLError:  # e.g. straight trajectories: then there is no such row
            closed = {}
        lines.append(
            f"endpoint RMSE with {name} on {states} noises (reference {yardstick.error:.2g})"
        )
        for K in budgets:
            lists = {path: s for path, s in schedules.items() if s.K == K}
            theirs = library_defaults(denoiser, K, high, low)
            lists |= {title: s for title, s in theirs.items() if allowed(denoiser, s)}
            if K in closed:
                lists["closed form (ART)"] = closed[K]
            lists["gaussian"] = baseline_schedule("gaussian", K, high, low, told.sigma_data)
            lines.append(f"K = {K}")
            width = max(map(len, lists))
            for title, schedule in lists.items():
                errors = squared_errors(denoiser, schedule, name, yardstick, batch)
                rmse, floor = float(errors.mean() ** 0.5), yardstick.error
                said = f"{rmse:9.4g}" if rmse >= floor else f"{f'< {floor:.2g}':>9}"
                lines.append(f"  {title:<{width}}  {said}")
    return "\n".join(lines)
