"""Decoupled levels: the denoiser is told other levels than the solver's formulas use (2405.15506)."""

from torch import Tensor

from art_rl.denoisers.base import DenoiserCall
from art_rl.errors import ArtRLError
from art_rl.registry import LISTED, SOLVERS, check_solver


class Decoupled:
    """A denoiser that is told other levels than the formulas use.

    What the formula combines is what the network says at the told level s': the denoised state D where
    the registry says `data`, else the slope (x - D) / s', for which the denoised state is x - s (x - D) / s'.

    Args:
        denoiser: the model.
        levels: (K + 1,) levels of the formulas, or (N, K + 1): rows n B / N .. of B states follow list n.
        told: levels that the denoiser is told in their place, of the same shape; the last is not used.
        solver: a key of the registry's LISTED.

    Raises:
        ArtRLError: unknown solver, or one that evaluates between levels (RK4).
    """

    def __init__(self, denoiser: DenoiserCall, levels: Tensor, told: Tensor, solver: str) -> None:
        if check_solver(solver) not in LISTED:
            raise ArtRLError(
                f"decoupled levels need a solver that evaluates at the listed levels only, got {solver!r}"
            )
        self.denoiser, self.levels, self.told = denoiser, levels, told
        self.data = SOLVERS[solver].data

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """What a formula at ``sigma``, () or one level per row, combines; in x's dtype."""
        level, first = sigma.reshape(-1)[0], self.levels.reshape(-1, self.levels.shape[-1])[0]
        told = self.told[..., int((first.detach() - level.detach()).abs().argmin())]
        rows = (
            told.repeat_interleave(len(x) // len(told)) if told.ndim else told.expand(sigma.shape)
        )
        value = self.denoiser(x, rows, class_labels).to(x.dtype)
        column = (-1, *[1] * (x.ndim - 1))
        slope = (x - value) / rows.reshape(column)
        return value if self.data else x - sigma.reshape(column) * slope
