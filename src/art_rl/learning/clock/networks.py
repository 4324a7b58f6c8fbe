"""The small networks of actor and critic, and the node densities the actor starts from.

Both are far smaller than any score network: one scalar out, a few dozen units, float64.  The last
layer starts at zero, so an untrained actor is exactly its base clock.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from art_rl.checks import given
from art_rl.learning.lattice import Lattice
from art_rl.learning.table import TableEnvironment
from art_rl.settings.learners import LearnerConfig

_BUMPS = 16
_PER_WIDTH = (_BUMPS - 1) / 1.5  # a bump's standard deviation is one and a half distances
_CENTRES = torch.linspace(0, 1, _BUMPS, dtype=torch.float64) * _PER_WIDTH
# Largest log factor by which x may change a speed or a remaining integral; |Q| is told apart from its
# mean within a factor 10, so sqrt|Q| needs no more.
_LARGEST_MODULATION = 1.5


def encode(position: Tensor, before: Sequence[Tensor] = (), after: Sequence[Tensor] = ()) -> Tensor:
    """A coordinate in [0, 1], any shape, float64, as (..., 17) smooth bumps and itself.

    ``before`` and ``after``, (..., n) each, are put beside it: one copy instead of two.
    """
    column = position[..., None]
    bumps = column * _PER_WIDTH - _CENTRES
    if bumps.requires_grad:
        bumps = torch.exp(-0.5 * bumps**2)
    else:
        bumps.square_().mul_(-0.5).exp_()
    return torch.cat([*before, bumps, column, *after], -1)


class SmallNet(nn.Sequential):
    """One hidden layer of SiLU units and one output, (..., inputs) -> (...), float64.

    First weights come from ``generator``; the output layer is zero.
    """

    def __init__(self, inputs: int, hidden: int, generator: torch.Generator) -> None:
        first = nn.Linear(inputs, hidden, dtype=torch.float64)
        with torch.no_grad():
            first.weight.normal_(0, inputs**-0.5, generator=generator)
            first.bias.normal_(0, 0.1, generator=generator)
        last = nn.Linear(hidden, 1, dtype=torch.float64)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(first, nn.SiLU(), last)
        self._linear = (first, last)

    def forward(self, value: Tensor) -> Tensor:
        """(...,) of inputs ``value`` (..., width)."""
        first, last = self._linear
        hidden = functional.silu(functional.linear(value, first.weight, first.bias))
        return functional.linear(hidden, last.weight, last.bias)[..., 0]


class LogDensity(nn.Module):
    """A positive node density on the lattice's cells: base density times exp(net(u))."""

    def __init__(
        self, lattice: Lattice, base: Tensor, hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.lattice, self.base = lattice, base
        self.inputs = encode(lattice.coordinate(lattice.middles))
        self.net = SmallNet(self.inputs.shape[-1], hidden, generator)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Density on the cells and its integral from 0 at the nodes."""
        density = self.base * torch.exp(self.net(self.inputs))
        return density, self.lattice.integral(density)


class Modulation(nn.Module):
    """c(u, features), the dependence on x; identically 0 when the state is (t, psi) only."""

    def __init__(self, num_features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_features = num_features
        if num_features:
            self.net = SmallNet(_BUMPS + 1 + num_features, hidden, generator)

    def forward(self, coordinate: Tensor, features: Tensor | None) -> Tensor:
        """Shape of ``coordinate``, the lattice's u / u_max."""
        if not self.num_features:
            return torch.zeros_like(coordinate)
        change = self.net(encode(coordinate, after=[given(features, "features")]))
        return _LARGEST_MODULATION * torch.tanh(change / _LARGEST_MODULATION)


class TimeNet(nn.Module):
    """A network of (t, psi[, x]), 0 at the start."""

    def __init__(self, num_features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_features = num_features
        self.net = SmallNet(_BUMPS + 2 + num_features, hidden, generator)

    def forward(
        self, step: Tensor | int, steps: int, coordinate: Tensor, features: Tensor | None
    ) -> Tensor:
        """Shape of ``coordinate``, the lattice's u / u_max; ``step`` a number or a column (n, 1)."""
        time = torch.as_tensor(step / steps, dtype=coordinate.dtype).expand(coordinate.shape)
        after = [given(features, "features")] if self.num_features else []
        return self.net(encode(coordinate, [time[..., None]], after))


def seen_features(table: TableEnvironment, config: LearnerConfig) -> int:
    """Features of x that actor and critic see: none where the state is (t, psi)."""
    return table.num_features if config.state == "full" else 0


def base_density(name: str, sigma: Tensor, sigma_min: float) -> Tensor:
    """Node density of the clock the actor starts from, at levels ``sigma``; any scale.

    "edm": sigma^(1/7 - 1) (Karras et al. 2022, eq. 5, rho = 7), held constant below sigma_min;
    "gaussian": (sigma^2 + 1/4)^(-3/4), the ART optimum for Gaussian data of EDM's sigma_data = 0.5;
    "uniform": 1.
    """
    if name == "edm":
        return sigma.clamp_min(sigma_min) ** (1 / 7 - 1)
    if name == "gaussian":
        return (sigma**2 + 0.25) ** -0.75
    return torch.ones_like(sigma)
