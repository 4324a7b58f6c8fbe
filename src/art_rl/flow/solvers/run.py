"""Running a solver over a list of levels: `solve` for one schedule, `run_levels` for one per row."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, DenoiserCall, Labelled
from art_rl.errors import ArtRLError
from art_rl.flow.solvers.adams import AdamsBashforth, Ipndm
from art_rl.flow.solvers.base import History, Step
from art_rl.flow.solvers.decoupled import Decoupled
from art_rl.flow.solvers.deis import Deis
from art_rl.flow.solvers.dpm import DpmSolverPP
from art_rl.flow.solvers.single_step import euler_step, heun_step, rk4_step
from art_rl.flow.solvers.unipc import UniPC
from art_rl.registry import EULER, check_solver
from art_rl.registry import SOLVERS as ENTRIES
from art_rl.schedules.schedule import Schedule

# id of the registry -> its step; see `base` for the signature.
SOLVERS: dict[str, Step] = {
    "euler": euler_step,
    "heun": heun_step,
    "rk4": rk4_step,
    "ipndm2": Ipndm(2),
    "ipndm3": Ipndm(3),
    "ipndm4": Ipndm(4),
    "lms2": AdamsBashforth(2),
    "lms3": AdamsBashforth(3),
    "lms4": AdamsBashforth(4),
    "deis_tab3": Deis(4),
    "dpmpp2m": DpmSolverPP(2),
    "dpmpp3m": DpmSolverPP(3),
    "dpmpp3m_third_order": DpmSolverPP(3, third_order=True),
    "unipc2": UniPC(2),
    "unipc3": UniPC(3),
}


def solve(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    solver: str,
    class_labels: Tensor | None = None,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Integrate from the schedule's first level to 0.

    Args:
        denoiser: the model.
        x: (B, *shape) state at level schedule.sigma_max, i.e. sigma_max * noise for a wide range.
        schedule: levels, and those that the network is told if they are others; see Schedule.
        solver: a key of SOLVERS.
        class_labels: None or one-hot (B, label_dim).
        callback: called as callback(k, sigma_k, x_k) at every level, the last one (K, 0.0, x_K) included.

    Returns:
        (B, *shape) in x's dtype.

    Raises:
        ArtRLError: unknown solver; states in half precision; RK4 with decoupled levels.
    """
    check_solver(solver)
    _check_precision(x)
    levels = torch.tensor(schedule.sigmas, dtype=x.dtype, device=x.device)
    model: DenoiserCall = Labelled(denoiser, class_labels)
    if schedule.network_levels is not None:
        model = Decoupled(model, levels, levels.new_tensor(schedule.network_levels), solver)
    if callback is not None:
        callback(0, schedule.sigmas[0], x)
    end = x
    for k, end in enumerate(_steps(model, x, list(levels), solver, 1), 1):
        if callback is not None:
            callback(k, schedule.sigmas[k], end)
    return end


def run_levels(
    denoiser: DenoiserCall,
    x: Tensor,
    levels: Tensor,
    solver: str,
    class_labels: Tensor | None = None,
) -> Iterator[Tensor]:
    """Run N schedules of K steps at once; the state after each step.

    Args:
        denoiser: the model; it is called with one level per row, (B,).
        x: (B, *shape) states at the first level, B a multiple of N: rows n B / N .. (n + 1) B / N - 1
            follow schedule n.
        levels: (N, K + 1) or (K + 1,), strictly decreasing, the last one 0 or above.  Coinciding
            levels are steps of no length; a multistep formula then falls back to first order.
        solver: a key of SOLVERS.
        class_labels: None or one-hot (B, label_dim).

    Yields:
        K times (B, *shape), in x's dtype: the states at levels[:, 1], ..., levels[:, K].  A last level
        of 0 is reached as the solver's registry entry says; any other by its own formula.  The first
        call of the denoiser is made with x itself at the first level, for every solver.

    Raises:
        ArtRLError: unknown solver; states in half precision; levels of another shape, not finite,
            increasing, or 0 before the last one; B is no multiple of N.
    """
    check_solver(solver)
    _check_precision(x)
    levels = torch.atleast_2d(levels)
    N, copies = len(levels), len(x) // max(1, len(levels))
    if levels.ndim != 2 or levels.shape[1] < 2 or len(x) != N * copies or copies < 1:
        raise ArtRLError(
            "levels must have shape (N, K + 1) with K >= 1 and N a divisor of the number of states, "
            f"got {tuple(levels.shape)} for {len(x)} states"
        )
    falling = (levels[:, 1:] <= levels[:, :-1]).all() and (levels[:, :-1] > 0).all()
    if not (torch.isfinite(levels).all() and falling and (levels[:, -1] >= 0).all()):
        worst = levels[
            (~((levels[:, 1:] <= levels[:, :-1]) & (levels[:, :-1] > 0))).any(1).nonzero()
        ]
        shown = [round(value, 6) for value in (worst if len(worst) else levels).flatten().tolist()]
        raise ArtRLError(
            "levels must be finite, decreasing and above 0 before the last one, got "
            f"{', '.join(map(str, shown[:12]))}{' ...' if len(shown) > 12 else ''}"
        )
    rows = levels.to(x).repeat_interleave(copies, 0)
    column = (-1, *[1] * (x.ndim - 1))
    shaped = [level.reshape(column) for level in rows.unbind(1)]
    return _steps(_OneLevelPerRow(denoiser, class_labels), x, shaped, solver, copies)


def _check_precision(x: Tensor) -> None:
    """States carry the levels' dtype: 80 and 0.002 in one sum, squares of both, are too much for 16 bits."""
    if x.dtype not in (torch.float32, torch.float64):
        raise ArtRLError(
            f"x (states) must be float64 or float32, got {x.dtype}: a solver's levels and sums do not fit "
            "into it; pass x.double() (the denoiser itself may compute in half precision)"
        )


def _steps(
    denoiser: DenoiserCall, x: Tensor, levels: list[Tensor], solver: str, copies: int
) -> Iterator[Tensor]:
    step, K = SOLVERS[solver], len(levels) - 1
    ends_at_zero = not levels[-1].any()
    history = History(copies=copies)
    for k in range(K):
        history.left = K - 1 - k
        last = history.left == 0 and ends_at_zero and ENTRIES[solver].last_step == EULER
        formula: Step = euler_step if last else step
        x = formula(denoiser, x, levels[k], levels[k + 1], history)
        yield x


class _OneLevelPerRow(Labelled):
    """The same for levels that are shaped to broadcast against the states."""

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        return super().__call__(x, sigma.reshape(-1))
