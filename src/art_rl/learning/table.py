"""The table of exact trajectories: the environment of every learner whose cost needs no network.

    table.start(count, generator, held_out) -> rollout
    rollout.observe(features, slope) -> Observation at the current level; what is not asked for is None
    rollout.advance(distance)      moves psi by theta dt, i.e. sigma by minus that

Along the exact flow the state is a function of its starting point and sigma, so a table of
trajectories on a lattice is the whole environment: only psi is rolled out.
"""

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_one_of
from art_rl.denoisers.base import Denoiser, expand_sigma
from art_rl.denoisers.tensors import read_tensors, write_tensors
from art_rl.errors import ArtRLError
from art_rl.files import digest
from art_rl.flow.curvature import difference, second_derivatives
from art_rl.flow.trajectory import norms, propagate, steps, walk
from art_rl.learning.lattice import Lattice, Place

# |Q| below this share of its mean at the level is not told apart in the feature log(|Q| / mean).
_SMALLEST_LOG = 0.1


@dataclass(frozen=True)
class Observation:
    """What policy and critic see of B trajectories at one clock time; float64.

    Attributes:
        sigma: (B,) level T - psi; may lie outside [0, T], then the rest is extended from the end.
        q: (B,) |Q|, or the weighted |Q| of the propagated cost.
        features: (B, F) standardised summary of x; its last entry is log(|Q| / mean |Q|); or None.
        slope: (B, F) derivative of the features along the flow per unit psi; or None.
        mean_q: (B,) mean |Q| at the level (the nearest end's outside [0, T]), or None.
        integral: (B,) int_0^sigma |Q| dsigma along the trajectory, or None.
        place: of ``sigma`` on the table's lattice, if it is known already.
    """

    sigma: Tensor
    q: Tensor
    features: Tensor | None = None
    slope: Tensor | None = None
    integral: Tensor | None = None
    mean_q: Tensor | None = None
    place: Place | None = None

    def locate(self, lattice: Lattice) -> Place:
        """Place of ``sigma``: the one that is known, or computed (then ``sigma`` may carry a gradient)."""
        return lattice.locate(self.sigma) if self.place is None else self.place


class FeatureScale:
    """Raw features and |Q| to what the networks see: standardised per level, |Q| added last."""

    def __init__(self, lattice: Lattice, q: Tensor, raw: Tensor) -> None:
        self.lattice, self.mean_q = lattice, q.mean(0)
        self.centre, self.spread = raw.mean(0), raw.std(0) + 1e-6

    def __call__(self, q: Tensor, raw: Tensor, sigma: Tensor) -> Tensor:
        """(B,), (B, F), (B,) -> (B, F + 1)."""
        _, cell, share = self.lattice.locate(sigma).inside()
        share = share[:, None]
        rows = torch.cat([self.mean_q[:, None], self.centre, self.spread], 1)
        mean_q, centre, spread = (rows[cell] * (1 - share) + rows[cell + 1] * share).split(
            [1, raw.shape[1], raw.shape[1]], 1
        )
        return torch.cat([(raw - centre) / spread, log_ratio(q[:, None], mean_q)], 1)


def log_ratio(q: Tensor, mean_q: Tensor) -> Tensor:
    """log(|Q| / mean |Q|), bounded below where |Q| passes through zero."""
    return torch.log((q / mean_q.clamp_min(1e-300)).clamp_min(_SMALLEST_LOG))


class TableEnvironment:
    """Exact trajectories on a lattice.

    Args:
        lattice: the levels.
        q: (B, nodes) |Q| (times the weight, for the propagated cost), >= 0, float64.
        features: (B, nodes, F) raw features.
        held_out: number of trajectories, taken from the end, kept for evaluation only.
        model, model_digest: provenance.
        cost: "q" or "propagated", what ``q`` holds.

    Raises:
        ArtRLError: shapes disagree, q negative or not finite, fewer than 2 trajectories in a part.
    """

    def __init__(
        self,
        lattice: Lattice,
        q: Tensor,
        features: Tensor,
        held_out: int,
        model: str = "",
        model_digest: str = "",
        cost: str = "q",
    ) -> None:
        nodes = lattice.cells + 1
        if q.ndim != 2 or q.shape[1] != nodes or features.shape[:2] != q.shape:
            raise ArtRLError(
                f"q must be (B, {nodes}) and features (B, {nodes}, F), "
                f"got {tuple(q.shape)} and {tuple(features.shape)}"
            )
        if not (torch.isfinite(q).all() and (q >= 0).all() and torch.isfinite(features).all()):
            raise ArtRLError("q must be finite and >= 0 and features finite, but are not")
        if held_out < 2 or len(q) - held_out < 2:
            raise ArtRLError(
                f"at least 2 trajectories to learn from and 2 to evaluate on are needed, "
                f"got {len(q) - held_out} and {held_out}"
            )
        self.lattice, self.model, self.model_digest, self.cost = lattice, model, model_digest, cost
        self.q, self.raw_features, self.held_out = q.double(), features.double(), held_out
        self.learning = len(q) - held_out
        train_q, train_raw = self.q[: self.learning], self.raw_features[: self.learning]
        self.scale = FeatureScale(lattice, train_q, train_raw)
        self.mean_q = self.scale.mean_q
        self.num_features = features.shape[2] + 1
        scaled = (self.raw_features - self.scale.centre) / self.scale.spread
        scaled = torch.cat([scaled, log_ratio(self.q, self.mean_q)[..., None]], 2)
        cells = (self.q[:, 1:] + self.q[:, :-1]) / 2
        integral = lattice.integral(cells)
        # Integral extended linearly, |Q|, its mean and features by their last value: see TableRollout.
        columns = [integral, self.q, self.mean_q.expand_as(self.q)]
        self.flat = torch.cat([torch.stack(columns, 2), scaled], 2).flatten(0, 1)
        self.short = self.flat[:, :3].contiguous()
        self.digest = digest(
            {
                "q": [float(self.q.sum()), float((self.q**2).sum())],
                "features": [float(self.raw_features.sum()), float((self.raw_features**2).sum())],
                "nodes": [lattice.sigma_max, lattice.sigma_min, lattice.cells],
                "held_out": held_out,
                "model": model_digest,
                "cost": cost,
            }
        )

    @property
    def evaluations(self) -> int:
        """Network evaluations `from_denoiser` took by difference, one per state and call.

        Per trajectory one at each of M levels, one more for |Q| there, one for each of Heun's M - 1 second
        stages; displacements of the propagated cost are not counted.
        """
        levels, _ = _levels(self.lattice)
        return len(self.q) * (3 * len(levels) - 1)

    @classmethod
    def from_denoiser(
        cls,
        denoiser: Denoiser,
        x_start: Tensor,
        sigma_max: float,
        sigma_min: float,
        *,
        cost: str = "q",
        cells: int | None = None,
        model: str = "",
        class_labels: Tensor | None = None,
        progress: bool = False,
    ) -> "TableEnvironment":
        """Integrate ``x_start`` (B, *shape), states at sigma_max, down the flow once; half are held out.

        Args:
            cells: of the lattice; default 192.
            cost: "q" or "propagated" (see settings.learners.ClockSettings.cost).

        Costs about 3 denoiser calls per cell on the batch (and about cells / 4 more batches for
        the propagated cost).

        Raises:
            ArtRLError: unknown cost; |Q| is not finite (sigma named).
        """
        lattice = Lattice(sigma_max, sigma_min, cells or 192)
        check_one_of("cost", cost, ("q", "propagated"))
        q, raw = _trace(denoiser, x_start, lattice, class_labels, progress)
        if cost == "propagated":
            q = q * sensitivity(denoiser, x_start, lattice, class_labels, progress)
        return cls(lattice, q, raw, len(x_start) // 2, model, denoiser.digest, cost)

    def in_units(self, unit: float) -> "TableEnvironment":
        """The same trajectories, levels and states counted in ``unit`` data units; costs are the same.

        The learners' starts and networks are made for data of standard deviation about 0.5.
        """
        old = self.lattice
        lattice = Lattice(old.sigma_max / unit, old.sigma_min / unit, old.cells)
        return TableEnvironment(
            lattice,
            self.q * unit,
            self.raw_features,
            self.held_out,
            self.model,
            self.model_digest,
            self.cost,
        )

    def start(
        self, count: int, generator: torch.Generator, held_out: bool = False, copies: int = 1
    ) -> "TableRollout":
        """``count`` trajectories drawn with replacement (``copies`` times), or all held-out ones in order."""
        if held_out:
            return TableRollout(self, torch.arange(self.learning, len(self.q)))
        index = torch.randint(self.learning, (count,), generator=generator)
        return TableRollout(self, index.repeat(copies))

    def save(self, path: str | os.PathLike) -> None:
        """Write the table as safetensors, atomically; one upstream job can serve every budget."""
        lattice = self.lattice
        write_tensors(
            path,
            {"q": self.q, "features": self.raw_features},
            {
                "format": "art_rl.control.table",
                "lattice": [lattice.sigma_max, lattice.sigma_min, lattice.cells],
                "held_out": self.held_out,
                "model": self.model,
                "model_digest": self.model_digest,
                "cost": self.cost,
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "TableEnvironment":
        """Read a table written by `save`."""
        tensors, head = read_tensors(path, "art_rl.control.table")
        lattice = Lattice(*head["lattice"])
        return cls(
            lattice,
            tensors["q"],
            tensors["features"],
            head["held_out"],
            head["model"],
            head["model_digest"],
            head["cost"],
        )


class TableRollout:
    """Trajectories of a table by index; ``sigma`` (B,) is all that moves."""

    def __init__(self, table: TableEnvironment, index: Tensor) -> None:
        self.table = table
        self.row = index.numpy() * (table.lattice.cells + 1)
        self.sigma = torch.full(index.shape, table.lattice.sigma_max, dtype=torch.float64)

    def observe(self, features: bool = True, slope: bool = False) -> Observation:
        """Piecewise-linear reading of the table."""
        table = self.table
        place = table.lattice.locate(self.sigma)
        integral, values, change = self._read(place, table.flat if features else table.short)
        if slope:
            change /= table.lattice.widths.numpy().take(place.cell.numpy())[:, None]
        return Observation(
            self.sigma,
            torch.from_numpy(values[:, 1]),
            torch.from_numpy(values[:, 3:]) if features else None,
            torch.from_numpy(-change[:, 3:]) if slope else None,
            torch.from_numpy(integral),
            torch.from_numpy(values[:, 2]),
            place,
        )

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int_0^sigma |Q| dsigma, |Q| and its mean, each (B,), as `observe` has them."""
        integral, values, _ = self._read(self.table.lattice.locate(self.sigma), self.table.short)
        return integral, values[:, 1], values[:, 2]

    def _read(self, place: Place, rows: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integral (B,), columns of ``rows`` at the levels and their change over the cell, (B, columns)."""
        share, row = place.share.numpy(), self.row + place.cell.numpy()
        table = rows.numpy()
        left = table.take(row, 0)
        change = table.take(row + 1, 0)
        change -= left
        integral = left[:, 0] + change[:, 0] * share
        values = change * place.inside().share.numpy()[:, None]
        values += left
        return integral, values, change

    def advance(self, distance: Tensor) -> None:
        """psi += distance."""
        self.sigma = self.sigma - distance


def _levels(lattice: Lattice) -> tuple[np.ndarray, int]:
    """Nodes at and above sigma_min in descending order, and the index of the lowest of them."""
    nodes = lattice.nodes.numpy()
    first = int(np.argmax(nodes >= lattice.sigma_min * (1 - 1e-9)))
    return nodes[first:][::-1].copy(), first


def features(x: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """x / sqrt(sigma^2 + sigma_data^2) itself in up to 4 dimensions, else its root mean square; (B, F).

    Args:
        x: (B, *shape).
        sigma: () or (B,).
    """
    flat = x.flatten(1)
    flat = flat / torch.sqrt(expand_sigma(sigma, flat) ** 2 + sigma_data**2)
    if flat.shape[1] <= 4:
        return flat
    return flat.square().mean(1, keepdim=True).sqrt()


@torch.no_grad()
def _trace(
    denoiser: Denoiser,
    x_start: Tensor,
    lattice: Lattice,
    class_labels: Tensor | None,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """|Q| (B, nodes) and features (B, nodes, F) along the flow, Heun's rule on the lattice; on the CPU.

    Nodes below sigma_min repeat the last node at or above it (the model is never asked there).
    """
    levels, first = _levels(lattice)
    q = torch.empty(len(x_start), len(lattice.nodes), dtype=torch.float64)
    seen: list[Tensor] = [torch.empty(0)] * len(lattice.nodes)
    walked = steps(denoiser, x_start, levels, class_labels, "heun", progress)
    for j, (x, denoised) in zip(range(len(q[0]) - 1, first - 1, -1), walked, strict=True):
        sigma = torch.tensor(float(lattice.nodes[j]), dtype=x.dtype, device=x.device)
        _, total = difference(denoiser, x, sigma, class_labels, denoised)
        q[:, j] = norms(total, 1).double().cpu()
        if not torch.isfinite(q[:, j]).all():
            raise ArtRLError(f"|Q| is not finite at sigma = {float(sigma):.6g}; check the denoiser")
        seen[j] = features(x, sigma, denoiser.sigma_data).double().cpu()
    q[:, :first] = q[:, first : first + 1]
    seen[:first] = [seen[first]] * first
    return q, torch.stack(seen, 1)


def sensitivity(
    denoiser: Denoiser,
    x_start: Tensor,
    lattice: Lattice,
    class_labels: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """w = |Phi(0, sigma) Q| / |Q| at every node, (B, nodes): how much of an error is passed on.

    Measured at every fourth node (`art_rl.flow.trajectory.propagate`), log w interpolated between.
    """
    levels, _ = _levels(lattice)
    levels = np.unique(np.append(levels[::4], levels[-1]))[::-1].copy()
    path = walk(denoiser, x_start, levels, class_labels, "heun", progress)
    local = second_derivatives(denoiser, path, "difference")
    w = norms(propagate(denoiser, path, local, progress=progress)) / norms(local)
    log_w = torch.log(w.double().cpu().clamp_min(torch.finfo(torch.float64).tiny)).flip(0).T
    at = lattice.coordinate(torch.as_tensor(levels[::-1].copy()))
    where = lattice.coordinate(lattice.nodes)
    index = (torch.searchsorted(at, where, right=True) - 1).clamp_(0, len(levels) - 2)
    share = ((where - at[index]) / (at[index + 1] - at[index])).clamp_(0, 1)
    return torch.exp(log_w[:, index] * (1 - share) + log_w[:, index + 1] * share)
