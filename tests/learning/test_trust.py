"""|Q| of a network outside the levels it was trained on, and along the rollouts of a learned clock."""

import pytest
import torch

from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.learning import TableEnvironment
from art_rl.learning.trust import trusted_table


@pytest.fixture
def model():
    """Gaussian data of the shape of an image."""
    return GaussianMixture([1.0], [[0.0] * 4], [0.5], shape=(1, 2, 2))


def gaussian_table(model, count=6):
    x = 80.0 * torch.randn(count, *model.shape, dtype=torch.float64)
    return x, TableEnvironment.from_denoiser(model, x, 80.0, 0.002, cells=64)


def test_trusted_table_continues_q_by_power_laws(model):
    _, table = gaussian_table(model)
    trusted = trusted_table(table, (0.02, 4.5))
    nodes = table.lattice.nodes
    inside = (nodes >= 0.02) & (nodes <= 4.5)
    assert torch.equal(trusted.q[:, inside], table.q[:, inside])
    # Gaussian data follows these laws up to (c / sigma)^2: 2 % at 4.5, 0.2 % at 0.02.
    ratio = (trusted.q / table.q)[:, ~inside & (nodes >= 0.002)]
    assert (ratio - 1).abs().max() < 0.03
    with pytest.raises(ArtRLError, match="at least 3 levels"):
        trusted_table(table, (100.0, 200.0))
