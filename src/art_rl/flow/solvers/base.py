"""What every solver of dx/dsigma = (x - D(x; sigma)) / sigma shares: one signature, one kind of memory.

    step(denoiser, x, sigma, sigma_next, history) -> x at sigma_next

The denoiser knows its labels (`art_rl.denoisers.base.Labelled`).  Levels are 0-dimensional, or shaped to
broadcast against x with one level per row, (B, 1, ..., 1).  Single-step solvers ignore ``history``; multistep
solvers read and extend it, an empty one is that of a run's first step.  Coefficients of multistep formulas
are computed in float64 from the levels, once per schedule, and cast to the state's dtype.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError

Step = Callable[..., Tensor]

# Two levels of a formula's history closer than this (relative, or in log sigma) count as one: the
# step falls back to first order instead of dividing by their distance.
SMALLEST_GAP = 1e-6


@dataclass
class History:
    """What a multistep solver remembers of one run, newest first.

    Attributes:
        sigmas: levels of the evaluations, in the shape that steps take them.
        values: evaluations at these levels, (B, *shape): slopes or denoised states.
        left: steps left after the coming one; None if unknown.  Solvers that lower their order
            towards the end of the list count with it.
        copies: rows per schedule: rows n * copies .. (n + 1) * copies - 1 share their levels.
    """

    sigmas: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    left: int | None = None
    copies: int = 1

    def remember(self, sigma: Tensor, value: Tensor, keep: int) -> None:
        """Put an evaluation in front and forget all but the ``keep`` newest."""
        self.sigmas = [sigma, *self.sigmas][:keep]
        self.values = [value, *self.values][:keep]

    def order(self, largest: int, lower_final: bool) -> int:
        """Points that the coming step can use: the memory's, fewer near the end if asked for."""
        points = min(largest, len(self.values))
        if lower_final and self.left is not None:
            points = min(points, self.left + 1)
        return points


def evaluate(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x; sigma) in x's dtype, for a level shaped as steps take it."""
    return denoiser(x, sigma).to(x.dtype)


def combine(
    weights: Callable[..., Sequence[Tensor]],
    sigmas: Sequence[Tensor],
    values: Sequence[Tensor],
    copies: int,
) -> Tensor:
    """sum_j w_j values[j] with the weights ``weights(*levels)`` of a formula.

    Args:
        weights: from float64 levels, all () or all (N,), to one weight per value in the same shape.
        sigmas: levels in the shape that steps take them, () or (B, 1, ..., 1).
        values: (B, *shape) each.
        copies: rows that share their levels, B = N copies.
    """
    levels = [sigma if sigma.ndim == 0 else sigma.reshape(-1)[::copies] for sigma in sigmas]
    total: Tensor | None = None
    for weight, value in zip(weights(*(s.double() for s in levels)), values, strict=True):
        weight = weight.to(value.dtype)
        if weight.ndim:
            weight = weight.repeat_interleave(copies).reshape(-1, *[1] * (value.ndim - 1))
        total = weight * value if total is None else total + weight * value
    if total is None:
        raise ArtRLError("a formula needs at least one value, got none")
    return total


def coincide(levels: Sequence[Tensor]) -> Tensor:
    """Where two neighbours of ``levels`` (in order) are closer than SMALLEST_GAP, relative."""
    close = torch.zeros_like(levels[0], dtype=torch.bool)
    for a, b in pairwise(levels):
        close = close | ((a - b).abs() <= SMALLEST_GAP * torch.maximum(a.abs(), b.abs()))
    return close


def choose(close: Tensor, first: Sequence[Tensor], full: Sequence[Tensor]) -> list[Tensor]:
    """The weights ``full``; where levels coincide (``close``) ``first``, zeros behind its end."""
    padded = [*first, *(torch.zeros_like(w) for w in full[len(first) :])]
    return [torch.where(close, a, b) for a, b in zip(padded, full, strict=True)]


def lagrange(nodes: Sequence[Tensor], at: Tensor) -> list[Tensor]:
    """The polynomials that are 1 at one of ``nodes`` () or (N,) and 0 at the others, at ``at`` (..., Q)."""
    nodes = [node[..., None] for node in nodes]
    basis = []
    for j, own in enumerate(nodes):
        value = torch.ones_like(at)
        for i, other in enumerate(nodes):
            if i != j:
                value = value * (at - other) / (own - other)
        basis.append(value)
    return basis
