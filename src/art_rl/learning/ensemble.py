"""Many schedules on the same starting states: endpoint errors against one fine solution.

    error(n) = mean over samples and coordinates of |x_K^n - x_ref(0)|^2

and, on the way, what `art_rl.learning.rewards` shows its critic: deviation and alignment.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.flow.reference import Reference, reference_solution
from art_rl.flow.solvers import nfe, run_levels

# A draw that explodes gets this mean squared error (data units), which keeps the reward finite.
LARGEST_ERROR = 1e12
SMALLEST_ERROR = 1e-30
SMALLEST_LEVEL = 1e-30
_CHECKED_STATES = 64  # of the reference solution, by step doubling


@dataclass(frozen=True)
class Run:
    """Solutions of N schedules from P states.

    Attributes:
        errors: (N,) mean squared endpoint error, within [SMALLEST_ERROR, LARGEST_ERROR]; CPU.
        deviation, alignment: (N, K - 2) at levels 1 .. K - 2, CPU, or None.
        end: (N, P, *shape) endpoint errors as vectors, or None.
    """

    errors: Tensor
    deviation: Tensor | None = None
    alignment: Tensor | None = None
    end: Tensor | None = None


class Ensemble:
    """Starting states, their reference solution, and a counter of the network calls spent.

    ``calls`` counts network evaluations, one per state and call, the reference solution included.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigma_max: float,
        solver: str,
        labels: Tensor | None,
        batch_rows: int,
        reference: dict,
    ) -> None:
        self.denoiser, self.x, self.sigma_max = denoiser, x, sigma_max
        self.solver, self.labels, self.batch_rows = solver, labels, batch_rows
        parts: list[Reference] = []
        for rows in torch.arange(len(x)).split(batch_rows):
            part_labels = None if labels is None else labels[rows]
            check = 0 if parts else _CHECKED_STATES
            parts.append(
                reference_solution(
                    denoiser, x[rows], sigma_max, part_labels, check=check, **reference
                )
            )
        first = parts[0]
        self.reference = Reference(
            first.sigmas,
            torch.cat([part.states for part in parts], 1),
            torch.cat([part.slopes for part in parts], 1),
            first.error,
            first.nfe,
        )
        checked = min(_CHECKED_STATES, len(x), batch_rows)
        self.calls = len(x) * first.nfe + checked * nfe("rk4", 2 * reference["steps"])

    def run(
        self,
        sigmas: Tensor,
        index: Tensor,
        along: Tensor | None = None,
        keep_end: bool = False,
    ) -> Run:
        """Run N schedules from the starting states ``index``.

        Args:
            sigmas: (N, K + 1) levels.
            index: (P,) int64.
            along: (P, *shape) directions of the alignment; with them, both features are computed.
            keep_end: return the endpoint errors themselves.

        Features and ends need P <= batch_rows; errors alone do not.
        """
        index, sigmas = index.to(self.x.device), sigmas.to(self.x.device)
        if len(index) > self.batch_rows:
            parts = index.split(self.batch_rows)
            sums = [len(part) * self.run(sigmas, part).errors for part in parts]
            return Run(torch.stack(sums).sum(0) / len(index))
        reference = None if along is None else self.reference.select(index)
        runs = [
            self._run(part, index, reference, along, keep_end)
            for part in sigmas.split(max(1, self.batch_rows // len(index)))
        ]
        columns = zip(*((r.deviation, r.alignment, r.end) for r in runs), strict=True)
        rest = [None if column[0] is None else torch.cat(column) for column in columns]
        return Run(torch.cat([r.errors for r in runs]), *rest)

    def _run(self, sigmas, index, reference, along, keep_end) -> Run:
        N, P = len(sigmas), len(index)
        start = self.x[index]
        labels = None if self.labels is None else self.labels[index].repeat(N, 1)
        # Every draw begins with the same evaluation at sigma_max, which the reference has made.
        known = start - self.sigma_max * self.reference.slopes[0, index]
        model = _FirstKnown(self.denoiser, known.repeat(N, *[1] * (start.ndim - 1)))
        deviation, alignment = [], []
        if along is not None:
            direction = along.reshape(-1)
            direction = direction / direction.square().sum().clamp_min(SMALLEST_ERROR)
        begin = start.repeat(N, *[1] * (start.ndim - 1))
        # A clock that has run to its end may round to 0 before the last step.
        levels = torch.cat([sigmas[:, :-1].clamp_min(SMALLEST_LEVEL), sigmas[:, -1:]], 1)
        with torch.no_grad():
            for k, x in enumerate(run_levels(model, begin, levels, self.solver, labels), 1):
                if along is not None and k < sigmas.shape[1] - 2:
                    path = reference.at(sigmas[:, k].contiguous())
                    off = (x - path.reshape(x.shape)).reshape(N, -1)
                    squares = torch.linalg.vecdot(off, off) / off.shape[1]
                    deviation.append(_bounded(squares).log())
                    alignment.append(off @ direction)
        self.calls += model.rows
        end = x.reshape(N, P, *x.shape[1:]) - self.reference.end[index]
        errors = _bounded(end.reshape(N, -1).square().mean(1))
        return Run(
            errors.cpu(),
            torch.stack(deviation, 1).cpu() if deviation else None,
            torch.stack(alignment, 1).cpu() if alignment else None,
            end if keep_end else None,
        )


def _bounded(errors: Tensor) -> Tensor:
    """Mean squared errors in float64, not-a-number and infinity at the upper bound."""
    errors = torch.nan_to_num(errors.double(), nan=LARGEST_ERROR, posinf=LARGEST_ERROR)
    return errors.clamp(SMALLEST_ERROR, LARGEST_ERROR)


class _FirstKnown:
    """The denoiser, its first answer known, and a count of the states it was asked for."""

    def __init__(self, denoiser: Denoiser, known: Tensor) -> None:
        self.denoiser = denoiser
        self.known: Tensor | None = known
        self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        if self.known is not None:
            known, self.known = self.known, None
            return known
        self.rows += len(x)
        return self.denoiser(x, sigma, class_labels)
