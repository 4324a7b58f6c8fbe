"""A lattice of noise levels from sigma_max to 0 and piecewise-linear integrals on it.

Coordinate u = log(1 + sigma / scale): logarithmic above ``scale`` (sigma_min by default), linear below,
so one lattice reaches sigma = 0 exactly.  With T = sigma_max, reverse time is psi = T - sigma
(2601.18681, section 2), and the learner's integrals are

    C(sigma) = int_0^sigma |Q| d sigma,        I(sigma) = int_0^sigma d(sigma) d sigma

both stored at the nodes and linear in between.  Outside [0, sigma_max] they go on with the slope of the
last cell: |Q| and d are extended by their last value, so no action ever has to be clamped.

Where no gradient is asked for, the same arithmetic is done by numpy on the tensors' memory: a learner
makes some fifty operations on a few hundred numbers per clock step, and torch's cost four times as much
each.  Same bits: only + - * / and comparisons (log1p and sqrt are torch's in both).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_whole
from art_rl.schedules.schedule import check_positive_range


class Place(NamedTuple):
    """Where levels lie: coordinate in [0, 1], cell (int64), share of the cell (beyond [0, 1] outside)."""

    coordinate: Tensor
    cell: Tensor
    share: Tensor

    def inside(self) -> "Place":
        """The same with levels outside [0, sigma_max] read as the nearest end."""
        if _plain(self.share):
            share = np.minimum(np.maximum(self.share.numpy(), 0.0), 1.0)
            return Place(self.coordinate, self.cell, torch.from_numpy(share))
        return self._replace(share=self.share.clamp(0, 1))


def _plain(*tensors: Tensor) -> bool:
    """Whether numpy may compute on ``tensors``: float64, at least one axis, no gradient asked for."""
    for tensor in tensors:
        if tensor.requires_grad or tensor.dtype is not torch.float64 or tensor.ndim == 0:
            return False
    return True


class Lattice:
    """``cells`` + 1 levels, ascending, nodes[0] = 0 and nodes[-1] = sigma_max, float64.

    Raises:
        ArtRLError: bad range, sigma_min = 0, fewer than 8 cells.
    """

    def __init__(self, sigma_max: float, sigma_min: float, cells: int = 192) -> None:
        check_positive_range(sigma_min, sigma_max, "the learner's lattice")
        check_whole("cells", cells, 8)
        self.sigma_max, self.sigma_min, self.cells = float(sigma_max), float(sigma_min), cells
        self.u_max = math.log1p(sigma_max / sigma_min)
        u = torch.linspace(0.0, self.u_max, cells + 1, dtype=torch.float64)
        self.nodes = sigma_min * torch.expm1(u)
        self.nodes[0], self.nodes[-1] = 0.0, sigma_max
        self.widths = self.nodes.diff()
        self._nodes, self._widths = self.nodes.numpy(), self.widths.numpy()
        self.middles = (self.nodes[:-1] + self.nodes[1:]) / 2

    def coordinate(self, sigma: Tensor) -> Tensor:
        """u / u_max in [0, 1]; levels outside [0, sigma_max] are read as the nearest end."""
        inside = sigma.clamp(0.0, self.sigma_max)
        return torch.log1p(inside / self.sigma_min) / self.u_max

    def locate(self, sigma: Tensor) -> Place:
        """The place of levels of any shape; several tables can then be read there."""
        if _plain(sigma):
            level = sigma.numpy()
            inside = np.minimum(np.maximum(level, 0.0), self.sigma_max)
            inside /= self.sigma_min
            coordinate = torch.from_numpy(inside).log1p_()
            inside /= self.u_max
            cells = (inside * self.cells).astype(np.int64)
            np.minimum(cells, self.cells - 1, out=cells)
            share = level - self._nodes.take(cells)
            share /= self._widths.take(cells)
            return Place(coordinate, torch.from_numpy(cells), torch.from_numpy(share))
        coordinate = self.coordinate(sigma)
        cell = (coordinate * self.cells).long().clamp_(max=self.cells - 1)
        return Place(coordinate, cell, (sigma - self.nodes[cell]) / self.widths[cell])

    def integral(self, density: Tensor) -> Tensor:
        """Integral from 0 to every node of a density given on the cells (..., cells)."""
        parts = torch.cumsum(density * self.widths, -1)
        return torch.cat([torch.zeros_like(parts[..., :1]), parts], -1)

    def evaluate(self, table: Tensor, sigma: Tensor) -> Tensor:
        """A node table (cells + 1,) at levels ``sigma`` of any shape, linear also beyond the ends."""
        return self.read(table, self.locate(sigma))

    def read(self, table: Tensor, place: Place) -> Tensor:
        """A node table (cells + 1,) at a place; shape of its members."""
        if _plain(table, place.share):
            cells, values = place.cell.numpy(), table.numpy()
            start = values.take(cells)
            change = values.take(cells + 1)
            change -= start
            change *= place.share.numpy()
            start += change
            return torch.from_numpy(start)
        left = table[place.cell]
        return left + (table[place.cell + 1] - left) * place.share

    def invert(self, table: Tensor, value: Tensor) -> Tensor:
        """The level at which an increasing node table takes ``value``; differentiable in both."""
        if _plain(table, value):
            values, wanted = table.numpy(), value.numpy()
            at = values.searchsorted(wanted, side="right") - 1
            at = np.minimum(np.maximum(at, 0, out=at), self.cells - 1, out=at)
            start = values.take(at)
            share = (wanted - start) / (values.take(at + 1) - start)
            share *= self._widths.take(at)
            share += self._nodes.take(at)
            return torch.from_numpy(share)
        index = torch.searchsorted(table.detach(), value.detach(), right=True) - 1
        index = index.clamp_(0, self.cells - 1)
        left = table[index]
        return self.nodes[index] + (value - left) / (table[index + 1] - left) * self.widths[index]
