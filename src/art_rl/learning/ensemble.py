"""Many schedules on the same starting states: endpoint errors against one fine solution.

    e_n = x_K^n - x_ref(0),    error(n) = mean over samples and coordinates of e_n^2

and the inner products of the vectors e_n, all that a critic of vectors needs (`endpoint`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser, DenoiserCall, FirstKnown, Labelled, drift
from art_rl.flow.reference import Reference, reference_solution
from art_rl.flow.solvers import run_levels
from art_rl.flow.solvers.decoupled import Decoupled

# A draw that explodes gets this mean squared error (data units), which keeps the reward finite.
LARGEST_ERROR = 1e12
SMALLEST_ERROR = 1e-30
SMALLEST_LEVEL = 1e-30
_CHECKED_STATES = 64  # of the reference solution, by step doubling


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
        slopes: list[Tensor] = []
        level = torch.tensor(sigma_max, dtype=x.dtype, device=x.device)
        for rows in torch.arange(len(x)).split(batch_rows):
            its = None if labels is None else labels[rows]
            check = 0 if parts else _CHECKED_STATES
            parts.append(
                reference_solution(denoiser, x[rows], sigma_max, its, check=check, **reference)
            )
            with torch.no_grad():
                slopes.append(drift(Labelled(denoiser, its), x[rows], level))
        # The first network call of every schedule: D(x; sigma_max), rounded as a step rounds it.
        self.known = x - sigma_max * torch.cat(slopes)
        self.end = torch.cat([part.end for part in parts])
        self.reference_error = parts[0].error
        self.calls = len(x) + sum(part.evaluations for part in parts)

    def errors(self, sigmas: Tensor, index: Tensor) -> Tensor:
        """(N,) mean squared endpoint errors of schedules from the starting states ``index``; CPU.

        Within [SMALLEST_ERROR, LARGEST_ERROR], the upper bound for one that explodes.

        Args:
            sigmas: (N, K + 1) levels, or with those that the denoiser is told (N, 2, K + 1).
            index: (P,) int64.
        """
        if len(index) > self.batch_rows:
            parts = index.split(self.batch_rows)
            sums = [len(part) * self.errors(sigmas, part) for part in parts]
            return torch.stack(sums).sum(0) / len(index)
        found = [_bounded(end.square().mean(1)) for end in self._ends(sigmas, index)]
        return torch.cat(found).cpu()

    def products(self, sigmas: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """`errors`, and (N, N) the mean over samples and coordinates of e_m e_n; both on the CPU.

        The vector of a schedule that explodes counts as 0 there.  N P vectors are kept at once; P is at most
        batch_rows.
        """
        ends = torch.cat(list(self._ends(sigmas, index))).double()
        errors = _bounded(ends.square().mean(1))
        ends[errors >= LARGEST_ERROR] = 0.0
        return errors.cpu(), (ends @ ends.T / ends.shape[1]).cpu()

    def _ends(self, sigmas: Tensor, index: Tensor) -> Iterator[Tensor]:
        """(n, P d) endpoint errors as vectors, as many schedules at once as fit into a call."""
        index, sigmas = index.to(self.x.device), sigmas.to(self.x.device)
        for part in sigmas.split(max(1, self.batch_rows // len(index))):
            yield self._run(part, index)

    def _run(self, sigmas: Tensor, index: Tensor) -> Tensor:
        N, P = len(sigmas), len(index)
        start = self.x[index]
        labels = None if self.labels is None else self.labels[index].repeat(N, 1)
        known = self.known[index].repeat(N, *[1] * (start.ndim - 1))
        model = FirstKnown(self.denoiser, known)
        end = begin = start.repeat(N, *[1] * (start.ndim - 1))
        # A clock that has run to its end may round to 0 before the last step.
        lists = torch.cat([sigmas[..., :-1].clamp_min(SMALLEST_LEVEL), sigmas[..., -1:]], -1)
        levels = lists
        asked: DenoiserCall = model
        if lists.ndim == 3:
            levels, told = lists.unbind(1)
            asked = Decoupled(model, levels, told, self.solver)
        with torch.no_grad():
            for end in run_levels(asked, begin, levels, self.solver, labels):  # noqa: B007
                pass
        self.calls += model.rows
        return (end.reshape(N, P, *end.shape[1:]) - self.end[index]).reshape(N, -1)


def _bounded(errors: Tensor) -> Tensor:
    """Mean squared errors in float64, not-a-number and infinity at the upper bound."""
    errors = torch.nan_to_num(errors.double(), nan=LARGEST_ERROR, posinf=LARGEST_ERROR)
    return errors.clamp(SMALLEST_ERROR, LARGEST_ERROR)
