"""Per-seed noise and labels: the stated protocol, independence of the batch, the uint8 conversion."""

import numpy as np
import pytest
import torch

from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise, latents, one_hot, to_uint8


def test_protocol_is_latent_then_label_then_float64_noise():
    noise = SeedNoise([7], (3, 8, 8), label_dim=10)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(noise.latents[0], torch.randn(3, 8, 8, generator=generator))
    assert int(noise.class_indices[0]) == int(torch.randint(10, [], generator=generator))
    expected = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    assert torch.equal(noise.normal()[0], expected)
    assert noise.latents.dtype == torch.float32 and noise.class_indices.dtype == torch.int64


def test_unconditional_model_draws_no_label():
    noise = SeedNoise([7], (3, 8, 8))
    assert noise.class_indices is None and noise.class_labels is None
    generator = torch.Generator().manual_seed(7)
    torch.randn(3, 8, 8, generator=generator)
    expected = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    assert torch.equal(noise.normal()[0], expected)


def test_a_seed_does_not_depend_on_its_batch():
    whole = SeedNoise(range(6), (3, 4, 4), label_dim=5)
    parts = [SeedNoise(seeds, (3, 4, 4), label_dim=5) for seeds in ([0], [1, 2, 3, 4], [5])]
    assert torch.equal(whole.latents, torch.cat([part.latents for part in parts]))
    assert torch.equal(whole.class_labels, torch.cat([part.class_labels for part in parts]))
    for _ in range(2):
        assert torch.equal(whole.normal(), torch.cat([part.normal() for part in parts]))
    assert torch.equal(latents([3], (3, 4, 4)), whole.latents[3:4])


def test_seeds_count_modulo_2_to_the_32():
    assert torch.equal(latents([5], (4, 5)), latents([(1 << 32) + 5], (4, 5)))
    assert not torch.equal(latents([5], (4, 5)), latents([6], (4, 5)))


def test_latents_are_standard_normal():
    values = latents(range(64), (3, 32, 32)).double()
    n = values.numel()
    assert abs(values.mean()) < 5 / n**0.5
    assert abs(values.var() - 1) < 5 * (2 / n) ** 0.5


def test_numpy_seeds_are_accepted():
    assert torch.equal(latents(np.arange(2), (2, 2)), latents([0, 1], (2, 2)))


@pytest.mark.parametrize("seeds", [[], [0.5], ["x"], [None], [True], [float("nan")]])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ArtRLError, match="seeds"):
        latents(seeds, (2, 2))


def test_one_hot_and_its_refusals():
    assert one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(1, 2).tolist() == [0, 1]
    for index in (10, -1):
        with pytest.raises(ArtRLError, match=rf"\[0, 10\).*got {index}"):
            one_hot([3, index], 10)
    with pytest.raises(ArtRLError, match="unconditional"):
        one_hot([0], 0)
    with pytest.raises(ArtRLError, match="integers"):
        one_hot([0.0], 3)
    with pytest.raises(ArtRLError, match="label_dim"):
        SeedNoise([0], (2, 2), label_dim=-1)


def test_uint8_truncates_and_clips():
    x = torch.tensor([-9.0, -1.0, -0.0001, 0.0, 0.5, 0.9999, 1.0, 9.0], dtype=torch.float64)
    assert to_uint8(x).tolist() == [0, 0, 127, 128, 191, 255, 255, 255]
    levels = torch.arange(256, dtype=torch.float64)  # every grey level survives the round trip
    assert torch.equal(to_uint8(levels / 127.5 - 1), levels.to(torch.uint8))
    with pytest.raises(ArtRLError, match="NaN"):
        to_uint8(torch.tensor([float("nan")]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int32, torch.bool])
def test_integer_images_are_not_taken_for_floats(dtype):
    with pytest.raises(ArtRLError, match=rf"float in \[-1, 1\], got {dtype}; pixels in 0..255"):
        to_uint8(torch.ones(2, 1, 4, 4, dtype=dtype))


def test_floats_in_0_to_255_are_refused_and_overshoot_is_not():
    with pytest.raises(ArtRLError, match=r"in \[-1, 1\], got values from 0 to 255; pixels"):
        to_uint8(torch.linspace(0, 255, 16))
    assert to_uint8(torch.tensor([-3.0, 7.0])).tolist() == [0, 255]
    assert to_uint8(torch.tensor([0.0, 1.5])).tolist() == [128, 255]
    assert to_uint8(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize(("size", "label_dim"), [((3, 32), 10), ((3, 64), 1000), ((4, 64), 1000)])
def test_official_random_numbers(test_data, size, label_dim):
    with np.load(test_data("goldens/edm") / "rng_cpu.npz", allow_pickle=False) as golden:
        channels, side = size
        name = f"{channels}x{side}"
        noise = SeedNoise(golden["seeds"].tolist(), (channels, side, side), label_dim)
        flat = noise.latents.flatten(1)
        np.testing.assert_array_equal(flat[:, :8].numpy(), golden[f"latents_first8_{name}"])
        sums = flat.double().sum(1).numpy()
        np.testing.assert_allclose(sums, golden[f"latents_sum_{name}"], rtol=0, atol=1e-3)
        labels = golden[f"labels_{label_dim}_after_{name}"]
        np.testing.assert_array_equal(noise.class_indices.numpy(), labels)
        following = noise.normal().flatten(1)[:, :4].numpy()
        np.testing.assert_array_equal(following, golden[f"next_float64_noise_first4_{name}"])
