"""|Q| of a trained network outside the noise levels it was trained on: power laws instead.

A network's |Q| at sigma -> 0 is network error (of order 1/sigma and worse), and above the training
levels too.  `trusted_table` keeps every trajectory's |Q| between two levels and continues it as
`quadrature.node_density` does: constant below, falling like sigma^-3 above (what Gaussian data does).
The learner then sees the same |Q| as the closed form it is compared with.
"""

import torch

from art_rl.errors import ArtRLError
from art_rl.learning.table import TableEnvironment
from art_rl.schedules.closed_form import TRAINED_RANGE


def trusted_table(
    table: TableEnvironment, trust: tuple[float, float] = TRAINED_RANGE
) -> TableEnvironment:
    """The same trajectories with |Q| continued by power laws outside ``trust`` = (low, high).

    Raises:
        ArtRLError: the table's cost is not |Q|, or fewer than 3 of its levels are inside.
    """
    if table.cost != "q":
        raise ArtRLError(f"only |Q| itself is continued by power laws, got cost {table.cost!r}")
    nodes = table.lattice.nodes
    inside = torch.nonzero((nodes >= trust[0]) & (nodes <= trust[1])).flatten()
    if len(inside) < 3:
        raise ArtRLError(f"trust = {trust} must hold at least 3 levels of the table")
    first, last = int(inside[0]), int(inside[-1])
    q = table.q.clone()
    q[:, :first] = q[:, first : first + 1]
    q[:, last + 1 :] = q[:, last : last + 1] * (nodes[last] / nodes[last + 1 :]) ** 3
    return TableEnvironment(
        table.lattice, q, table.raw_features, table.held_out, table.model, table.model_digest
    )
