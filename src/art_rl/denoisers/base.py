"""The protocol every model meets, the ODE's right-hand side, and the NFE counter."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from art_rl.errors import ArtRLError
from art_rl.schedules.profile import EDM_NOISE


@runtime_checkable
class Denoiser(Protocol):
    """D(x; sigma) = E[x_0 | x_0 + sigma * noise = x] (Karras et al. 2022, eq. 2).

    Attributes beside those below:
        exact: optional; True where the score is known in closed form (see `is_exact`).
        trained_noise: optional; (P_mean, P_std) of ln sigma while a network was trained (see
            `trained_noise`).

    Calling:
        x: (B, *shape), any float dtype (solvers use float64).
        sigma: () or (B,), noise level in data units, >= 0 for analytic denoisers and > 0 for networks.
        class_labels: None or one-hot (B, label_dim).
        returns: (B, *shape); analytic denoisers in x's dtype, networks in float32.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, e.g. (1,), (64,), (3, 32, 32)."""

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data per coordinate."""

    @property
    def label_dim(self) -> int:
        """Number of classes, 0 if unconditional."""

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 that identifies the model."""

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """D(x; sigma), shaped like x."""


# Any function with the call of a denoiser, (x, sigma, class_labels), and none of its attributes.
DenoiserCall = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def is_exact(denoiser: Denoiser) -> bool:
    """Whether the denoiser says (attribute ``exact``) that it is the exact one of its data.

    Said, never guessed from the dtype of its answers: a network in float64 is not exact, and would be
    measured on seven times as many states and without the trust in its training levels.
    """
    return bool(getattr(denoiser, "exact", False))


def trained_noise(denoiser: Denoiser) -> tuple[float, float]:
    """(P_mean, P_std) of ln sigma ~ N(P_mean, P_std^2) while the network was trained.

    What the denoiser says (attribute ``trained_noise``), else EDM's, which official checkpoints have.
    """
    P_mean, P_std = getattr(denoiser, "trained_noise", EDM_NOISE)
    return float(P_mean), float(P_std)


def expand_sigma(sigma: Tensor | float, x: Tensor) -> Tensor:
    """``sigma`` in x's dtype and device, shaped to broadcast against x: () stays (), (B,) -> (B,1,..)."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim == 0:
        return sigma
    return sigma.reshape(-1, *[1] * (x.ndim - 1))


def drift(
    denoiser: Denoiser, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
) -> Tensor:
    """dx/dsigma = (x - D(x; sigma)) / sigma, in x's dtype (Karras et al. 2022, eq. 3; = -F of paper.md)."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    denoised = denoiser(x, sigma, class_labels).to(x.dtype)
    return (x - denoised) / expand_sigma(sigma, x)


class Labelled:
    """A denoiser with the class labels of a batch (or None): what a solver's step is given."""

    def __init__(self, denoiser: DenoiserCall, class_labels: Tensor | None) -> None:
        self.denoiser, self.class_labels = denoiser, class_labels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The denoiser's answer for its own labels."""
        return self.denoiser(x, sigma, self.class_labels)


class FirstKnown:
    """A denoiser whose first call is answered from memory; ``rows`` counts the states of the others."""

    def __init__(self, denoiser: Denoiser, known: Tensor) -> None:
        self.denoiser, self.rows = denoiser, 0
        self.known: Tensor | None = known

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """``known`` the first time, then the denoiser's answer."""
        if self.known is not None:
            known, self.known = self.known, None
            return known
        self.rows += len(x)
        return self.denoiser(x, sigma, class_labels)


class CountingDenoiser:
    """Counts what a denoiser is asked; its other attributes are the denoiser's.

    Attributes:
        calls: batched calls so far, whatever the batch size: the NFE of whatever runs with it.
        rows: evaluations so far, one per state and call.
        limit: evaluations not to be exceeded; None: any number.
        sigma_data: the denoiser's, unless another one is set here.
    """

    sigma_data: Any

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls, self.rows = denoiser, 0, 0
        self.limit: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The denoiser's answer; ArtRLError, before it is asked, beyond the ``limit``."""
        if self.limit is not None and self.rows + len(x) > self.limit:
            raise ArtRLError(
                f"{self.limit} evaluations do not suffice for this method and these budgets: "
                "give more (evaluations= or minutes=)"
            )
        self.calls += 1
        self.rows += len(x)
        return self.denoiser(x, sigma, class_labels)
