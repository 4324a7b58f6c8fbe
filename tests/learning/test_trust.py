"""|Q| of a network outside the levels it was trained on, and along the rollouts of a learned clock."""

import numpy as np
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


def test_rollout_q_is_the_mean_q_between_two_levels(model):
    x, table = gaussian_table(model)
    estimate = table.rollout_q()
    calls = 0

    def counted(*args):
        nonlocal calls
        calls += 1
        return model(*args)

    level = torch.full((len(x),), 80.0, dtype=torch.float64)
    _, first = estimate(counted, x, level)
    assert first.flatten(1).norm(dim=1).numpy() == pytest.approx(float(table.mean_q[-1]))
    # Exact flow of Gaussian data down to 0.5 and 0.45: |Q| = c^2 (c^2 + s^2)^(-3/2) |x_T| / ...
    c = 0.5

    def at(sigma):
        return x * np.sqrt((c**2 + sigma**2) / (c**2 + 80.0**2))

    estimate(counted, at(0.5), level * 0 + 0.5)
    _, q = estimate(counted, at(0.45), level * 0 + 0.45)
    middle = np.sqrt(0.5 * 0.45)
    length = x.flatten(1).norm(dim=1) / np.sqrt(c**2 + 80.0**2)
    exact = c**2 * (c**2 + middle**2) ** -1.5 * length
    assert q.flatten(1).norm(dim=1).numpy() == pytest.approx(exact.numpy(), rel=2e-3)
    assert calls == 3
