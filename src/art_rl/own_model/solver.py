"""The solver a schedule is learned for: one of the registry, in sigma or in flow time, or the user's own.

Flow time.  With y = x / (1 + sigma) and t = sigma / (1 + sigma) the ODE is dy/dt = (y - D) / t: the same
equation as dx/dsigma = (x - D) / sigma.  A solver in flow time is therefore the same formula applied to
(y, t) with the denoiser D(y / (1 - t); t / (1 - t)).  Euler and exponential integrators do not
change; Heun and RK4 become other solvers.

Own solvers enter the table of solvers under a name of their own while a block runs, so that everything
that takes a solver's id takes them.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from art_rl import registry
from art_rl.checks import check_one_of, check_whole
from art_rl.errors import ArtRLError
from art_rl.flow.solvers import SOLVERS, History

COORDINATES = ("sigma", "flow")


@contextmanager
def known_as(
    solver: str | Callable[..., Any],
    coordinates: str = "sigma",
    order: int | None = None,
    calls: int | None = None,
) -> Iterator[str]:
    """The id under which ``solver`` can be run inside the block.

    Args:
        solver: an id of the registry; a step function step(D, x, sigma, sigma_next) -> x_next; or a
            whole sampler(D, x, levels) -> x at the last level, levels a tensor (K + 1,) ending in 0.
        coordinates: "sigma" or "flow"; own functions choose theirs themselves.
        order: order of accuracy of an own step, >= 1; default 1.
        calls: network calls of one step of an own function; default ``order`` (see `calls_of`).

    Raises:
        ArtRLError: unknown id or coordinates; a function with another signature; order or calls given
            for a known solver.
    """
    check_one_of("coordinates", coordinates, COORDINATES)
    if isinstance(solver, str):
        entry = registry.SOLVERS[registry.check_solver(solver)]
        if order is not None or calls is not None:
            raise ArtRLError(f"order and calls of {solver!r} are known; leave them out")
        if coordinates == "sigma" or solver == "euler":
            yield solver
            return
        name, step = f"{solver}_flow", _in_flow_time(SOLVERS[solver])
        own = replace(entry, id=name, label=f"{entry.label} in flow time")
    else:
        if coordinates != "sigma":
            raise ArtRLError("an own solver chooses its coordinates itself: leave them out")
        parameters = _parameters(solver)
        check_whole("order", 1 if order is None else order, 1)
        check_whole("calls", 1 if calls is None else calls, 1)
        order = order or 1
        stages = calls or order
        name = str(getattr(solver, "__name__", type(solver).__name__))
        if name in SOLVERS or not name.isidentifier():
            name = f"own_{name.strip('<>')}"
        if parameters == 4:
            step = _own_step(solver)
            own = registry.Solver(name, name, order, stages, 0, registry.EULER)
        else:
            step = Sampler(solver)
            own = registry.Solver(name, name, order, stages, 1, registry.OWN)
    registry.SOLVERS[name], SOLVERS[name] = own, step
    registry.ORDERS[name], registry.STAGES[name] = own.order, own.stages
    try:
        yield name
    finally:
        for table in (registry.SOLVERS, registry.ORDERS, registry.STAGES, SOLVERS):
            del table[name]


@torch.no_grad()
def calls_of(solver: Any, denoiser: Any, x: Tensor, sigma_max: float, K: int) -> int | None:
    """Network calls a whole sampler makes in K steps, counted on ``x``; None for anything else."""
    if isinstance(solver, str) or _parameters(solver) != 3:
        return None
    counting = _Counting(denoiser)
    levels = sigma_max * (1 - torch.arange(K + 1, dtype=x.dtype, device=x.device) / K) ** 3
    _checked(solver(counting, x.clone(), levels), x)
    return counting.calls


@torch.no_grad()
def check_repeats(solver: Any, denoiser: Any, x: Tensor, sigma_max: float) -> None:
    """Refuse an own solver that takes ``x`` (B, *shape) to two different ends: it draws noise.

    What is learned is its distance to the flow's end from the same noise, which chance would decide.

    Raises:
        ArtRLError: the ends differ by more than 1e-3 of their size.
    """
    if isinstance(solver, str):
        return
    levels = x.new_tensor([sigma_max, sigma_max / 4, 0.0])
    way = (levels[0], levels[1]) if _parameters(solver) == 4 else (levels,)
    one, other = (_checked(solver(_Counting(denoiser), x.clone(), *way), x) for _ in range(2))
    off, size = float((one - other).abs().max()), float(one.abs().max())
    if off > 1e-3 * size:
        raise ArtRLError(
            f"the solver ends elsewhere when it is run again (by {off:.3g}, the largest value is "
            f"{size:.3g}): a stochastic sampler; give its deterministic form (eta=0)"
        )


class _Counting:
    """The denoiser for an own solver: any form of level; ``calls`` counts."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, x: Tensor, sigma: Any, *ignored: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        return self.denoiser(x, level, None).to(x.dtype)


def _parameters(solver: Callable[..., Any]) -> int:
    if not callable(solver):
        raise ArtRLError(
            f"solver must be an id ({', '.join(registry.SOLVERS)}) or a function, got {solver!r:.80}"
        )
    required = [
        p
        for p in inspect.signature(solver).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) not in (3, 4):
        raise ArtRLError(
            "an own solver is a step(D, x, sigma, sigma_next) or a sampler(D, x, levels); "
            f"this function takes {len(required)} arguments"
        )
    return len(required)


def _in_flow_time(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def flow_step(denoiser, x, sigma, sigma_next, history=None) -> Tensor:
        t, t_next = sigma / (1 + sigma), sigma_next / (1 + sigma_next)

        def in_flow(y: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
            return denoiser(y / (1 - time), time / (1 - time))

        return step(in_flow, x / (1 + sigma), t, t_next, history) * (1 + sigma_next)

    return flow_step


def _own_step(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def step(denoiser, x, sigma, sigma_next, history=None) -> Tensor:
        return _checked(function(_Counting(denoiser), x, sigma, sigma_next), x)

    return step


class Sampler:
    """A whole sampler behind the signature of a step: the levels are collected, the last step runs it.

    It is given the rows of one schedule at a time, so a model with class labels has them fixed.
    The first evaluation, which every schedule shares, is made for all rows at once and handed to the
    sampler's first call; learners that know it save it.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def __call__(self, denoiser, x, sigma, sigma_next, history=None) -> Tensor:
        """Collect ``sigma_next``; the step that is the last one runs the sampler."""
        history = history or History(left=0, copies=len(x))
        if not history.values:
            history.values = [denoiser(x, sigma).to(x.dtype)]
            history.sigmas = [sigma]
        history.sigmas = [*history.sigmas, sigma_next]
        if history.left:
            return x
        levels = torch.stack([level.reshape(-1)[:: history.copies] for level in history.sigmas], 1)
        copies = len(x) // len(levels)
        ends = []
        for n, own in enumerate(levels.to(x)):
            rows = slice(n * copies, (n + 1) * copies)
            first = history.values[0][rows]
            model = _Rows(denoiser, own[0], x[rows], first, sigma.ndim)
            ends.append(_checked(self.function(model, x[rows], own), x[rows]))
        return torch.cat(ends)


class _Rows:
    """The denoiser as a sampler sees it: D(x, sigma) with any form of level."""

    def __init__(self, denoiser, first_level, start, first, ndim) -> None:
        self.denoiser, self.ndim = denoiser, ndim
        self.first_level, self.start, self.first = first_level, start, first

    def __call__(self, x: Tensor, sigma: Any, *ignored: Any, **kwargs: Any) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        if self.first is not None:
            first, self.first = self.first, None
            if bool((level == self.first_level).all()) and torch.equal(x, self.start):
                return first
        level = level.reshape(-1).expand(len(x)) if level.numel() == 1 else level.reshape(-1)
        if self.ndim:
            level = level.reshape(-1, *[1] * (x.ndim - 1))
        return self.denoiser(x, level).to(x.dtype)


def _checked(end: Any, x: Tensor) -> Tensor:
    if not isinstance(end, Tensor) or end.shape != x.shape:
        got = tuple(end.shape) if isinstance(end, Tensor) else type(end).__name__
        raise ArtRLError(
            f"an own solver must return a tensor of x's shape {tuple(x.shape)}, got {got}"
        )
    return end.to(x.dtype)
