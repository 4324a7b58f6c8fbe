"""Environment of the endpoint reward: many schedules run from the same starting states.

N schedules x P starting states; the state of a draw is its clock and its ensemble of P samples, the
terminal reward

    R = -log(mean over samples and coordinates of |x_K - x_ref(0)|^2)

with x_ref a fine solution from the same starting states (art_rl.flow.reference).  On the way, at the
levels where a decision follows, two features tell the critic what the steps so far have done to the ensemble:

    deviation   log mean |x_k - x_ref(sigma_k)|^2
    alignment   mean <x_k - x_ref(sigma_k), e> / mean |e|^2

with e the endpoint errors of the mean policy on the same starting states: whether the deviations so
far point the way the final errors do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.flow.reference import Reference, reference_solution
from art_rl.flow.solvers import check_solver, nfe, run_levels

# A draw that explodes gets this mean squared error (data units), which keeps the reward finite.
LARGEST_ERROR = 1e12
SMALLEST_ERROR = 1e-30
SMALLEST_LEVEL = 1e-30


@dataclass(frozen=True)
class Outcome:
    """What N schedules did to P starting states; on the CPU, except ``end``.

    Attributes:
        errors: (N,) mean squared endpoint error, within [SMALLEST_ERROR, LARGEST_ERROR].
        deviation: (N, K - 2) log mean squared deviation at levels 1 .. K - 2, or None.
        alignment: (N, K - 2), or None.
        end: (N, P, *shape) endpoint errors as vectors, or None.
    """

    errors: Tensor
    deviation: Tensor | None
    alignment: Tensor | None
    end: Tensor | None

    @property
    def rewards(self) -> Tensor:
        """(N,) R."""
        return -torch.log(self.errors)


class EndpointEnvironment:
    """Starting states, their reference solution, and a counter of the network calls spent.

    Args:
        denoiser: the model.
        x: (B, *shape) starting states at sigma_max.
        sigma_max: their level.
        solver: a key of SOLVERS.
        labels: None or one-hot (B, label_dim).
        batch_rows: largest number of states per network call.
        reference: keyword arguments of reference_solution (steps, solver, sigma_min).

    ``calls`` counts network evaluations, one per state and call (the currency of an image network),
    the reference solution included.
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
        self.denoiser, self.x, self.sigma_max = denoiser, x, float(sigma_max)
        self.solver, self.labels = check_solver(solver), labels
        self.batch_rows = batch_rows
        parts = []
        for rows in torch.arange(len(x)).split(batch_rows):
            part_labels = None if labels is None else labels[rows]
            options = dict(reference, check=reference["check"] if not parts else 0)
            parts.append(reference_solution(denoiser, x[rows], sigma_max, part_labels, **options))
        first = parts[0]
        self.reference = Reference(
            first.sigmas,
            torch.cat([part.states for part in parts], 1),
            torch.cat([part.slopes for part in parts], 1),
            first.error,
            first.nfe,
        )
        checked = min(reference["check"], len(x), batch_rows)
        self.calls = len(x) * first.nfe + checked * nfe(reference["solver"], 2 * reference["steps"])

    def run(
        self,
        sigmas: Tensor,
        index: Tensor,
        along: Tensor | None = None,
        features: bool = False,
        keep_end: bool = False,
    ) -> Outcome:
        """Run N schedules from the starting states ``index``.

        Args:
            sigmas: (N, K + 1) levels.
            index: (P,) int64.
            along: (P, *shape) directions of the alignment feature; needed with ``features``.
            features: compute deviation and alignment.
            keep_end: return the endpoint errors themselves.

        Features and ends need P <= batch_rows; errors alone do not.
        """
        index, sigmas = index.to(self.x.device), sigmas.to(self.x.device)
        if len(index) > self.batch_rows:
            parts = index.split(self.batch_rows)
            sums = [len(part) * self.run(sigmas, part).errors for part in parts]
            return Outcome(torch.stack(sums).sum(0) / len(index), None, None, None)
        reference = self.reference.select(index) if features else None
        draws = max(1, self.batch_rows // len(index))
        outcomes = [
            self._run(part, index, reference, along, features, keep_end)
            for part in sigmas.split(draws)
        ]
        joined = []
        for name in ("errors", "deviation", "alignment", "end"):
            values = [getattr(outcome, name) for outcome in outcomes]
            joined.append(None if values[0] is None else torch.cat(values))
        return Outcome(*joined)

    def _run(self, sigmas, index, reference, along, features, keep_end) -> Outcome:
        N, K, P = len(sigmas), sigmas.shape[1] - 1, len(index)
        start = self.x[index]
        x = start.repeat(N, *[1] * (start.ndim - 1))
        labels = None if self.labels is None else self.labels[index].repeat(N, 1)
        # Every draw begins with the same evaluation at sigma_max, which the reference has made.
        known = start - self.sigma_max * self.reference.slopes[0, index]
        model = _FirstKnown(self.denoiser, known.repeat(N, *[1] * (start.ndim - 1)))
        deviation, alignment = [], []
        if features:
            direction = along.reshape(-1)
            direction = direction / direction.square().sum().clamp_min(SMALLEST_ERROR)
        with torch.no_grad():
            # A clock that has run to its end may round to 0 before the last step.
            levels = torch.cat([sigmas[:, :-1].clamp_min(SMALLEST_LEVEL), sigmas[:, -1:]], 1)
            states = run_levels(model, x, levels, self.solver, labels)
            for k, x in enumerate(states):
                if features and k < K - 2:
                    path = reference.at(sigmas[:, k + 1].contiguous())
                    off = (x - path.reshape(x.shape)).reshape(N, -1)
                    squares = torch.linalg.vecdot(off, off) / off.shape[1]
                    deviation.append(_bounded(squares).log())
                    alignment.append(off @ direction)
        self.calls += model.rows
        end = x.reshape(N, P, *x.shape[1:]) - self.reference.end[index]
        errors = _bounded(end.reshape(N, -1).square().mean(1))
        return Outcome(
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
        self.denoiser, self.known = denoiser, known
        self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        if self.known is not None:
            known, self.known = self.known, None
            return known
        self.rows += len(x)
        return self.denoiser(x, sigma, class_labels)
