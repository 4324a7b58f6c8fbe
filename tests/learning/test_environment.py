"""Lattice and tables of exact trajectories against closed forms."""

import math

import pytest
import torch

from art_rl.denoisers import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.curvature import difference, jvp
from art_rl.learning import TableEnvironment
from art_rl.learning.lattice import Lattice
from art_rl.learning.table import features, sensitivity

STD, HIGH, LOW = 0.5, 10.0, 0.002


def draw(count, dim=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return HIGH * torch.randn(count, dim, dtype=torch.float64, generator=generator)


def gaussian_q(x_start, sigma):
    """Exact |Q| of Gaussian data at ``sigma`` (nodes,) for starts (B, d)."""
    size = x_start.norm(dim=1)[:, None] / math.sqrt(STD**2 + HIGH**2)
    return STD**2 * (STD**2 + sigma**2) ** -1.5 * size


@pytest.fixture(scope="module")
def table():
    return TableEnvironment.from_denoiser(Gaussian(STD), draw(40), HIGH, LOW, model="gaussian")


def test_lattice_ends_and_inverse():
    lattice = Lattice(HIGH, LOW, 64)
    assert lattice.nodes[0] == 0.0 and lattice.nodes[-1] == HIGH
    density = 1 / (lattice.middles + 0.1)
    integral = lattice.integral(density)
    # Inside, at the ends and beyond both: the inverse is exact because both are piecewise linear.
    sigma = torch.tensor([-0.3, 0.0, 1e-4, 0.7, 9.99, HIGH, 12.0], dtype=torch.float64)
    back = lattice.invert(integral, lattice.evaluate(integral, sigma))
    torch.testing.assert_close(back, sigma, rtol=1e-12, atol=1e-13)
    # Beyond the ends the density is that of the last cell.
    outside = lattice.evaluate(integral, torch.tensor([-1.0, HIGH + 1.0], dtype=torch.float64))
    expected = torch.stack([-density[0], integral[-1] + density[-1]])
    torch.testing.assert_close(outside, expected)
    # Read inside only, levels beyond the ends count as the nearest end.
    held = lattice.read(integral, lattice.locate(sigma).inside())
    expected = lattice.evaluate(integral, sigma.clamp(0, HIGH))
    torch.testing.assert_close(held, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("arguments", [(1.0, 2.0), (HIGH, 0.0), (HIGH, LOW, 4), (HIGH, LOW, 9.5)])
def test_lattice_refuses(arguments):
    with pytest.raises(ArtRLError):
        Lattice(*arguments)


def test_table_q_is_the_gaussians(table):
    nodes = table.lattice.nodes
    exact = gaussian_q(draw(40), nodes.clamp_min(LOW))
    # Heun's rule on 192 cells: measured 3e-4.
    torch.testing.assert_close(table.q, exact, rtol=1e-3, atol=0)


def test_rows_below_sigma_min_and_beyond_the_ends_are_held(table):
    rollout = table.start(0, torch.Generator(), held_out=True)
    rollout.sigma = torch.full_like(rollout.sigma, -0.1)
    below = rollout.observe()
    held_out = table.q[table.learning :]
    torch.testing.assert_close(below.q, held_out[:, 0])
    torch.testing.assert_close(below.integral, -0.1 * held_out[:, 0], rtol=1e-9, atol=1e-12)
    assert table.q[0, 0] == table.q[0, 1]  # node 1 lies below sigma_min


def test_observed_integral_is_exact(table):
    rollout = table.start(0, torch.Generator(), held_out=True)
    rollout.sigma = torch.full_like(rollout.sigma, 2.0)
    seen = rollout.observe()
    # int_0^s c^2 (c^2 + v^2)^(-3/2) dv = s / sqrt(c^2 + s^2)
    size = draw(40)[table.learning :].norm(dim=1) / math.sqrt(STD**2 + HIGH**2)
    exact = size * 2.0 / math.sqrt(STD**2 + 4.0)
    torch.testing.assert_close(seen.integral, exact, rtol=2e-3, atol=0)


def test_learning_and_held_out_trajectories_are_apart(table):
    generator = torch.Generator().manual_seed(0)
    learning = table.start(500, generator).row // (table.lattice.cells + 1)
    held_out = table.start(0, generator, held_out=True).row // (table.lattice.cells + 1)
    assert learning.max() < held_out.min()
    assert len(held_out) == 20


def test_jvp_and_difference_agree_with_per_sample_levels():
    mixture = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.3]], [0.2, 0.5])
    x = draw(6, dim=2, seed=3) / 5
    sigma = torch.tensor([0.05, 0.2, 0.5, 1.0, 2.0, 5.0], dtype=torch.float64)
    slope, exact = jvp(mixture, x, sigma)
    slope_too, close = difference(mixture, x, sigma)
    torch.testing.assert_close(slope, slope_too)
    torch.testing.assert_close(close, exact, rtol=5e-3, atol=1e-4 * float(exact.abs().max()))


def test_sensitivity_is_the_gaussians():
    lattice = Lattice(HIGH, LOW, 96)
    w = sensitivity(Gaussian(STD, 3), draw(4, 3), lattice)
    exact = STD / torch.sqrt(STD**2 + lattice.nodes**2)
    torch.testing.assert_close(w, exact.expand(4, -1), rtol=2e-2, atol=0)


def test_features_of_small_and_large_states():
    few = features(torch.ones(3, 2), torch.tensor([1.0, 2.0, 3.0]), STD)
    assert few.shape == (3, 2)
    large = features(torch.ones(3, 1, 4, 4), torch.tensor(2.0), STD)
    torch.testing.assert_close(large, torch.full((3, 1), 1 / math.sqrt(STD**2 + 4)))


def test_table_round_trip(table, tmp_path):
    table.save(tmp_path / "table.safetensors")
    again = TableEnvironment.load(tmp_path / "table.safetensors")
    assert again.digest == table.digest and again.model == "gaussian"
    assert torch.equal(again.flat, table.flat)
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 40)
    for name in ("bad.safetensors", "missing.safetensors"):
        with pytest.raises(ArtRLError, match=name):
            TableEnvironment.load(tmp_path / name)


def test_refusals(table):
    lattice = table.lattice
    q, features = torch.ones(8, lattice.cells + 1), torch.zeros(8, lattice.cells + 1, 1)
    with pytest.raises(ArtRLError, match="must be"):
        TableEnvironment(lattice, q[:, 1:], features, 4)
    with pytest.raises(ArtRLError, match="finite"):
        TableEnvironment(lattice, -q, features, 4)
    with pytest.raises(ArtRLError, match="at least 2"):
        TableEnvironment(lattice, q, features, 7)
    with pytest.raises(ArtRLError, match="cost"):
        TableEnvironment.from_denoiser(Gaussian(STD), draw(8), HIGH, LOW, cost="squared", cells=8)


def test_broken_denoiser_is_named():
    class Broken(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x, sigma) / 0.0

    with pytest.raises(ArtRLError, match="NaN or infinity at sigma"):
        TableEnvironment.from_denoiser(Broken(STD), draw(8), HIGH, LOW, cells=16)


@pytest.mark.parametrize("cells", [8, 33])
def test_evaluations_are_the_calls_it_took(cells):
    class Counted(Gaussian):
        calls = 0

        def __call__(self, x, sigma, class_labels=None):
            Counted.calls += len(x)
            return super().__call__(x, sigma, class_labels)

    x = 80 * torch.ones(6, 1, dtype=torch.float64)
    table = TableEnvironment.from_denoiser(Counted(0.5), x, 80.0, 0.002, cells=cells)
    assert table.evaluations == Counted.calls > 0
