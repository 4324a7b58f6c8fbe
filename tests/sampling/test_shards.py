"""Sampling by seed: independence of shards and batches, references, streamed cells."""

import numpy as np
import pytest
import torch

from art_rl.denoisers.exact import Gaussian, GaussianMixture
from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise, latents, to_uint8
from art_rl.flow.solvers import nfe, solve
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import frechet_between
from art_rl.sampling.shards import (
    CellPart,
    Endpoints,
    load_shard,
    measure_seeds,
    merge_parts,
    reference_shard,
    sample_batches,
    sample_shard,
    split_seeds,
)
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

EDM5 = baseline_schedule("edm", 5, 80.0, 0.002)
FLAT = Features(
    "flat", 64, "0", lambda images: images.flatten(1).float() / 127.5 - 1, torch.device("cpu")
)


def network(label_dim=0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UNetConfig((1, 8, 8), channels=(8, 16), embedding=8, label_dim=label_dim)
        model = UNetDenoiser(config, 0.5)
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def sample(denoiser, seeds, schedule=EDM5, solver="heun", **options):
    parts = [x for _, x in sample_batches(denoiser, schedule, solver, seeds, **options)]
    return torch.cat(parts)


def test_split_seeds():
    assert split_seeds(10, 5, 2) == [range(10, 12), range(12, 14), range(14, 15)]
    assert split_seeds(0, 3, 10) == [range(0, 3)]
    with pytest.raises(ArtRLError, match="at least 1, got 0"):
        split_seeds(0, 0, 5)


def test_samples_are_the_solver_on_the_seeds_noise():
    model = GaussianMixture([1, 2], [[-1.0] * 4, [0.5] * 4], [0.2, 0.4], shape=(1, 2, 2))
    got = sample(model, range(3, 10), batch_size=4)
    want = solve(model, latents(range(3, 10), (1, 2, 2)).double() * 80.0, EDM5, "heun")
    assert got.dtype == torch.float64
    assert torch.allclose(got, want, rtol=0, atol=1e-13)


def test_same_bits_in_any_split_for_one_batch_size(tmp_path):
    model, seeds = network(), range(100, 115)
    whole = sample(model, seeds, batch_size=8)
    for size in (1, 5, 8, 16):
        shards = split_seeds(100, 15, size)
        again = torch.cat([sample(model, shard, batch_size=8) for shard in shards])
        assert torch.equal(again, whole)
    shuffled = list(seeds)[::-1]
    assert torch.equal(sample(model, shuffled, batch_size=8).flip(0), whole)


def test_other_batch_sizes_differ_by_rounding_only():
    model, seeds = network(), range(23)
    whole = sample(model, seeds, batch_size=23)
    for size in (1, 7, 64):
        other = sample(model, seeds, batch_size=size)
        # Measured: up to 2e-5 of values up to 5 (float32 network), 0.02 % of the bytes.
        assert torch.allclose(other, whole, rtol=0, atol=2e-4)
        assert (to_uint8(other) != to_uint8(whole)).float().mean() < 5e-3


def test_labels_are_the_seeds_own_or_one_class():
    model, seeds = network(label_dim=4), range(6)
    noise = SeedNoise(seeds, (1, 8, 8), 4)
    x = noise.latents.double() * 80.0
    own = solve(model, x, EDM5, "euler", noise.class_labels)
    assert torch.allclose(sample(model, seeds, solver="euler", batch_size=6), own, atol=1e-12)
    fixed = solve(model, x, EDM5, "euler", torch.eye(4)[[2] * 6])
    got = sample(model, seeds, solver="euler", batch_size=6, class_index=2)
    assert torch.allclose(got, fixed, atol=1e-12)
    # Filled-up batches carry their labels along.
    assert torch.allclose(sample(model, seeds, solver="euler", batch_size=4), own, atol=1e-4)
    with pytest.raises(ArtRLError, match=r"class index must be in \[0, 4\)"):
        sample(model, seeds, class_index=4)
    with pytest.raises(ArtRLError, match="unconditional"):
        sample(network(), seeds, class_index=0)


def test_shard_files(tmp_path):
    model, seeds = network(), range(5, 12)
    sample_shard(tmp_path / "a.npz", model, EDM5, "euler", seeds, batch_size=4)
    got_seeds, images = load_shard(tmp_path / "a.npz")
    assert got_seeds.tolist() == list(seeds) and images.dtype == np.uint8
    x = sample(model, seeds, solver="euler", batch_size=4)
    assert (images == to_uint8(x).numpy()).all()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["nfe"] == 5
    with pytest.raises(ArtRLError, match="dtype must be uint8 or float32"):
        sample_shard(tmp_path / "b.npz", model, EDM5, "euler", seeds, dtype="float16")
    with pytest.raises(ArtRLError, match="must be float32, got uint8"):
        Endpoints([tmp_path / "a.npz"])
    np.savez(tmp_path / "c.npz", seeds=np.arange(2), images=np.zeros((3, 1)))
    with pytest.raises(ArtRLError, match="as many images"):
        load_shard(tmp_path / "c.npz")
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "b.npz").exists()


def test_endpoint_error_against_the_exact_flow(tmp_path):
    # Gaussian data: the flow is linear, x_end = x_T c / sqrt(c^2 + T^2); one Euler step from T to 0
    # lands on D(x_T) = c^2 / (c^2 + T^2) x_T.  The RMSE follows in closed form.
    c, top = 0.5, 3.0
    model = Gaussian(c, dim=6)
    one_step = Schedule((top, 0.0))
    fine = baseline_schedule("gaussian", 400, top, 0.002, c)
    for index, shard in enumerate(split_seeds(0, 30, 11)):
        reference_shard(tmp_path / f"r{index}.npz", model, fine, shard, batch_size=10)
    reference = Endpoints(sorted(tmp_path.glob("r*.npz")))
    x = top * latents(range(30), (6,)).double()
    exact = x * c / np.sqrt(c**2 + top**2)
    assert torch.allclose(reference(range(30)), exact, rtol=0, atol=2e-5)
    part = measure_seeds(model, one_step, "euler", range(30), reference=reference, batch_size=7)
    factor = c**2 / (c**2 + top**2) - c / np.sqrt(c**2 + top**2)
    assert part.rmse == pytest.approx(abs(factor) * float((x**2).mean().sqrt()), rel=1e-4)
    assert part.squared_error.shape == (30,) and part.nfe == 1 and part.moments is None
    with pytest.raises(ArtRLError, match="no reference endpoint for seed 30"):
        measure_seeds(model, one_step, "euler", range(31), reference=reference)


@pytest.mark.parametrize("solver", ["euler", "heun", "rk4", "ipndm4", "dpmpp3m", "unipc3"])
def test_measured_cell_equals_images_kept(tmp_path, solver):
    model, seeds = network(), range(20)
    reference_shard(tmp_path / "r.npz", model, EDM5.resample(15), seeds, batch_size=8)
    reference = Endpoints([tmp_path / "r.npz"])
    options = {"features": FLAT, "reference": reference, "batch_size": 8}
    x = sample(model, seeds, solver=solver, batch_size=8)
    moments = FLAT.moments(to_uint8(x))
    error = ((x - reference(seeds)) ** 2).flatten(1).mean(1).numpy()
    for size in (20, 9):
        parts = []
        for index, shard in enumerate(split_seeds(0, 20, size)):
            path = tmp_path / f"{solver}{size}_{index}.npz"
            measure_seeds(model, EDM5, solver, shard, preview=3, **options).save(path)
            parts.append(CellPart.load(path))
        cell = merge_parts(parts[::-1])  # any order of files
        assert cell.nfe == nfe(solver, 5)
        assert cell.seeds.tolist() == list(seeds) and cell.moments.n == 20
        np.testing.assert_array_equal(cell.squared_error, error)
        assert cell.rmse == pytest.approx(np.sqrt(error.mean()), rel=1e-14)
        np.testing.assert_allclose(cell.moments.outer, moments.outer, rtol=1e-12)
        assert frechet_between(cell.moments, moments) < 1e-9
        assert (cell.preview[:3] == to_uint8(x[:3]).numpy()).all()


def test_huge_errors_are_measured_but_clipped_for_features(tmp_path):
    # Heun's corrector explodes at K = 2 when the first step lands on 0.002.
    model = network()
    wild = Schedule((80.0, 0.002, 0.0))
    reference_shard(tmp_path / "r.npz", model, EDM5.resample(30), range(4), batch_size=4)
    cell = measure_seeds(
        model, wild, "heun", range(4), FLAT, Endpoints([tmp_path / "r.npz"]), batch_size=4
    )
    assert cell.rmse > 10 and np.abs(cell.moments.total).max() <= 4.0


def test_merging_refuses_what_does_not_fit():
    model = network()
    one = measure_seeds(model, EDM5, "euler", range(4), FLAT, batch_size=4)
    with pytest.raises(ArtRLError, match="a seed occurs twice"):
        merge_parts([one, one])
    other = measure_seeds(model, EDM5, "heun", range(4, 8), FLAT, batch_size=4)
    with pytest.raises(ArtRLError, match="NFE"):
        merge_parts([one, other])
    bare = measure_seeds(model, EDM5, "euler", range(4, 8), batch_size=4)
    with pytest.raises(ArtRLError, match="what was measured"):
        merge_parts([one, bare])
    with pytest.raises(ArtRLError, match="without reference"):
        _ = one.rmse
    with pytest.raises(ArtRLError, match="no shards"):
        merge_parts([])


class Diverging:
    shape, sigma_data, label_dim, digest = (2,), 0.5, 0, "0"

    def __call__(self, x, sigma, class_labels=None):
        return x.masked_fill(torch.arange(len(x))[:, None] == 1, float("nan"))


def test_divergence_and_bad_arguments(tmp_path):
    with pytest.raises(ArtRLError, match="seed 6: the endpoint is not finite with euler and K = 5"):
        sample_shard(tmp_path / "x.npz", Diverging(), EDM5, "euler", range(5, 8))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtRLError, match="at least one seed"):
        sample(network(), [])
    with pytest.raises(ArtRLError, match="batch_size must be at least 1"):
        sample(network(), [1], batch_size=0)
