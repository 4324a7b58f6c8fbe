"""Sampling by seed: independence of shards and batches, labels, faults."""

import pytest
import torch

from art_rl.denoisers.exact import GaussianMixture
from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise, latents, to_uint8
from art_rl.flow.solvers import solve
from art_rl.sampling.shards import sample_batches, split_seeds
from art_rl.schedules.hand_made import baseline_schedule

EDM5 = baseline_schedule("edm", 5, 80.0, 0.002)


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


def test_same_bits_in_any_split_for_one_batch_size():
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


def test_labels_are_the_seeds_own():
    model, seeds = network(label_dim=4), range(6)
    noise = SeedNoise(seeds, (1, 8, 8), 4)
    x = noise.latents.double() * 80.0
    own = solve(model, x, EDM5, "euler", noise.class_labels)
    assert torch.allclose(sample(model, seeds, solver="euler", batch_size=6), own, atol=1e-12)
    # Filled-up batches carry their labels along.
    assert torch.allclose(sample(model, seeds, solver="euler", batch_size=4), own, atol=1e-4)


class Diverging:
    shape, sigma_data, label_dim, digest = (2,), 0.5, 0, "0"

    def __call__(self, x, sigma, class_labels=None):
        return x.masked_fill(torch.arange(len(x))[:, None] == 1, float("nan"))


def test_divergence_and_bad_arguments():
    with pytest.raises(ArtRLError, match="seed 6: the endpoint is not finite with euler and K = 5"):
        sample(Diverging(), range(5, 8), solver="euler")
    with pytest.raises(ArtRLError, match="at least one seed"):
        sample(network(), [])
    with pytest.raises(ArtRLError, match="batch_size must be at least 1"):
        sample(network(), [1], batch_size=0)
