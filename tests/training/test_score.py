"""Score training: the loss, exact resume, and learning a target whose denoiser is known."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from art_rl.denoisers.base import CountingDenoiser, trained_noise
from art_rl.denoisers.exact import Gaussian
from art_rl.denoisers.tensors import read_tensors
from art_rl.denoisers.unet import UNetConfig, load_model, save_model
from art_rl.errors import ArtRLError
from art_rl.files import read_json, write_json
from art_rl.flow.measure_profile import measure_profile
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.profile import Profile
from art_rl.training.loss import edm_loss, loss_by_sigma, stratified_sigmas
from art_rl.training.score import TrainSettings, shipped_network, train

TINY = UNetConfig(shape=(1, 4, 4), channels=(8,), embedding=8, attention=False)


def images(n=40, std=0.5):
    return std * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(77))


def settings(**options):
    defaults = {"iterations": 12, "batch_size": 8, "warmup": 3, "checkpoint_every": 4}
    return TrainSettings(**(defaults | options))


def test_loss_of_exact_denoiser():
    # Gaussian data of standard deviation c: the posterior variance is c^2 s^2 / (c^2 + s^2), and with
    # sigma_data = c the weight makes the expected loss exactly 1 at every level.
    c, n = 0.5, 4000
    exact = Gaussian(c, dim=16)
    generator = torch.Generator().manual_seed(0)
    y = c * torch.randn(n, 16, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 16, generator=generator, dtype=torch.float64)
    for level in (0.02, 0.5, 10.0):
        sigma = torch.full((n,), level, dtype=torch.float64)
        loss = edm_loss(exact, y, sigma, noise, c)
        assert loss.shape == (n,)
        # A mean of squares over 16 coordinates has standard deviation sqrt(2 / 16).
        assert abs(float(loss.mean()) - 1) < 5 * np.sqrt(2 / 16 / n)


def test_stratified_sigmas():
    generator = torch.Generator().manual_seed(0)
    logs = torch.log(stratified_sigmas(4000, -1.2, 1.2, generator, "cpu")).double()
    # Sorted by construction, one per quantile share: moments far better than 1/sqrt(n).
    assert (logs.diff() > 0).all()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=2e-3)
    assert float(logs.std()) == pytest.approx(1.2, rel=2e-3)


def test_seeded_and_finite_progress():
    data = images()
    one, record = train(data, TINY, settings(), 0.5, progress=False)
    two, _ = train(data, TINY, settings(), 0.5, progress=False)
    other, _ = train(data, TINY, settings(seed=1), 0.5, progress=False)
    assert one.digest == two.digest != other.digest
    assert len(record["loss"]) == 12 and np.isfinite(record["loss"]).all()
    assert record["iterations_done"] == 12 and not one.training


@pytest.mark.parametrize("stops", [(4,), (5, 3), (1, 11)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, stops):
    data = images()
    whole, record = train(data, TINY, settings(), 0.5, progress=False)
    for stop in stops:
        _, part = train(
            data, TINY, settings(), 0.5, state_dir=tmp_path, progress=False, stop_after=stop
        )
    done_before = part["iterations_done"]
    resumed, again = train(data, TINY, settings(), 0.5, state_dir=tmp_path, progress=False)
    assert done_before <= 12 and resumed.digest == whole.digest
    assert again["loss"] == record["loss"]
    # A finished run is only read back.
    finished, _ = train(
        data, TINY, settings(), 0.5, state_dir=tmp_path, progress=False, stop_after=0
    )
    assert finished.digest == whole.digest


def test_state_of_other_settings_is_not_used(tmp_path):
    data = images()
    train(data, TINY, settings(seed=1), 0.5, state_dir=tmp_path, progress=False)
    mixed, _ = train(data, TINY, settings(), 0.5, state_dir=tmp_path, progress=False)
    assert mixed.digest == train(data, TINY, settings(), 0.5, progress=False)[0].digest


def test_damaged_state_is_reported(tmp_path):
    train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False, stop_after=9)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-8])
    with pytest.raises(ArtRLError, match=r"state.safetensors: .*damaged.*; delete the folder"):
        train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False)


def test_a_changed_weight_in_a_state_is_noticed(tmp_path):
    train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False, stop_after=9)
    state = tmp_path / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-3] ^= 1  # the last weight of the file, in its eighth digit
    state.write_bytes(content)
    with pytest.raises(
        ArtRLError,
        match=r"state.safetensors: its content does not fit its digest: damaged.*; delete the folder",
    ):
        train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False)


def test_state_of_other_labels_is_not_used(tmp_path):
    other = ONE_HOT.flip(1)
    train(images(), CONDITIONAL, settings(), 0.5, other, state_dir=tmp_path, progress=False)
    mixed, _ = train(
        images(), CONDITIONAL, settings(), 0.5, ONE_HOT, state_dir=tmp_path, progress=False
    )
    anew, _ = train(images(), CONDITIONAL, settings(), 0.5, ONE_HOT, progress=False)
    assert mixed.digest == anew.digest


def test_layout_and_bfloat16_change_rounding_only():
    plain, record = train(images(), TINY, settings(), 0.5, progress=False)
    last, same = train(images(), TINY, settings(channels_last=True), 0.5, progress=False)
    assert np.allclose(same["loss"], record["loss"], rtol=1e-4)
    _, coarse = train(images(), TINY, settings(precision="bfloat16"), 0.5, progress=False)
    # bfloat16 carries 8 bits; the first losses differ by that much, and they do differ.
    assert coarse["loss"] != record["loss"]
    assert np.allclose(coarse["loss"][:3], record["loss"][:3], rtol=3e-2)
    x = images(4)
    with torch.no_grad():
        assert torch.allclose(last(x, 0.5), plain(x, 0.5), rtol=0, atol=1e-3)


def test_one_state_file_is_kept(tmp_path):
    train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_learns_the_mean_of_constant_images():
    # All images equal m: the exact denoiser is the constant m, loss 0.  Untrained loss is about
    # (m^2 / sd^2 + ...) > 1; a few hundred steps must bring it down by far more than 10 times.
    data = torch.full((16, 1, 4, 4), 0.8)
    long = settings(iterations=250, batch_size=16, learning_rate=5e-3, warmup=20)
    model, record = train(data, TINY, long, 0.5, progress=False)
    levels = np.array([0.1, 0.5, 2.0])
    losses = loss_by_sigma(model, data, levels)
    untrained = loss_by_sigma(train(data, TINY, settings(iterations=1), 0.5, progress=False)[0],
                              data, levels)  # fmt: skip
    assert (losses[:, 0] < 0.1 * untrained[:, 0]).all()
    assert record["final_loss"] < 0.1 * record["loss"][0]


def test_loss_by_sigma_of_exact_denoiser():
    # An untrained network is the exact denoiser of Gaussian data of standard deviation sigma_data.
    from art_rl.denoisers.unet import UNetDenoiser

    data = images(2000)
    levels = np.array([0.05, 0.5, 5.0])
    result = loss_by_sigma(UNetDenoiser(TINY, 0.5), data, levels, repeats=2, batch_size=300)
    assert result.shape == (3, 2)
    assert (np.abs(result[:, 0] - 1) < 6 * result[:, 1]).all()
    assert result[:, 1] == pytest.approx(np.sqrt(2 / 16 / 2000), rel=0.6)
    again = loss_by_sigma(UNetDenoiser(TINY, 0.5), data, levels, repeats=2, batch_size=300)
    assert (again == result).all()


def test_conditional_training():
    config = UNetConfig((1, 4, 4), channels=(8,), embedding=8, attention=False, label_dim=2)
    labels = torch.eye(2)[torch.arange(40) % 2]
    data = images() * 0.05 + (labels[:, :1] - 0.5).reshape(-1, 1, 1, 1)
    model, _ = train(
        data, config, settings(iterations=150, batch_size=16, learning_rate=5e-3), 0.5, labels,
        progress=False,
    )  # fmt: skip
    x = torch.zeros(2, 1, 4, 4)
    with torch.no_grad():
        out = model(x, torch.tensor(5.0), torch.eye(2)).mean((1, 2, 3))
    assert out[0] > 0.1 > -0.1 > out[1]  # class means are +0.5 and -0.5


@pytest.mark.parametrize(
    "options, phrase",
    [
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"iterations": True}, "iterations must be a whole number, got True"),
        (
            {"checkpoint_every": "9"},
            "checkpoint_every must be a whole number, got '9'",
        ),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"warmup": 2.5}, "warmup must be a whole number, got 2.5"),
        ({"seed": -3}, "seed must be at least 0, got -3"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number, got '1e-3'"),
        ({"ema_halflife": 0}, "ema_halflife must be greater than 0, got 0"),
        ({"ema_halflife": True}, "ema_halflife must be a number, got True"),
        ({"P_std": float("inf")}, "P_std must be finite, got inf"),
        ({"P_mean": float("nan")}, "P_mean must be finite, got nan"),
        ({"P_mean": float("-inf")}, "P_mean must be finite, got -inf"),
        ({"P_mean": [0]}, r"P_mean must be a number, got \[0\]"),
        ({"channels_last": 1}, "channels_last must be true or false, got 1"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
    ],
)
def test_bad_settings(options, phrase):
    with pytest.raises(ArtRLError, match=phrase):
        settings(**options)


def test_bad_inputs():
    with pytest.raises(ArtRLError, match="images must be"):
        train(torch.zeros(3, 1, 8, 8), TINY, settings(), 0.5, progress=False)
    with pytest.raises(ArtRLError, match="label_dim = 0"):
        train(images(), TINY, settings(), 0.5, torch.eye(40), progress=False)
    with pytest.raises(ArtRLError, match="images must be finite"):
        train(images() * float("nan"), TINY, settings(), 0.5, progress=False)
    with pytest.raises(ArtRLError, match=r"loss is not finite .* lower learning_rate"):
        train(images(), TINY, settings(learning_rate=1e30), 0.5, progress=False)


CONDITIONAL = UNetConfig(shape=(1, 4, 4), channels=(8,), embedding=8, attention=False, label_dim=3)
ONE_HOT = torch.eye(3)[torch.arange(40) % 3]


@pytest.mark.parametrize(
    "config, data, labels, phrase",
    [
        (TINY, images()[..., :3], None, r"images must be \(N, \(1, 4, 4\)\), got \(40, 1, 4, 3\)"),
        (TINY, images()[:0], None, "N >= 1"),
        (TINY, (images() > 0).long(), None, "images must be float .* got torch.int64"),
        (TINY, (images() > 0) * 255.0, None, r"got values from 0 to 255; pixels in 0\.\.255"),
        (TINY, images() / 0, None, "images must be finite"),
        (TINY, images(), ONE_HOT, "class_labels must be None: the model is unconditional"),
        (CONDITIONAL, images(), None, "class_labels are missing: the model has 3 classes"),
        (CONDITIONAL, images(), ONE_HOT.long(), "float dtype, got torch.int64"),
        (CONDITIONAL, images(), torch.arange(40) % 3, r"one-hot of shape \(40, 3\), got \(40,\)"),
        (CONDITIONAL, images(), ONE_HOT[:39], r"one-hot of shape \(40, 3\), got \(39, 3\)"),
        (CONDITIONAL, images(), ONE_HOT[:, :2], r"one-hot of shape \(40, 3\), got \(40, 2\)"),
        (CONDITIONAL, images(), 2 * ONE_HOT, r"must be one-hot, row 0 is \[2\.0"),
        (CONDITIONAL, images(), ONE_HOT.flip(1) + ONE_HOT, "must be one-hot, row 0"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(config, data, labels, phrase):
    with pytest.raises(ArtRLError, match=phrase):
        train(data, config, settings(), 0.5, class_labels=labels, progress=False)


def test_loss_by_sigma_refuses_a_conditional_network_without_labels():
    model, _ = train(
        images(), CONDITIONAL, settings(iterations=1), 0.5, class_labels=ONE_HOT, progress=False
    )
    with pytest.raises(ArtRLError, match="class_labels are missing"):
        loss_by_sigma(model, images(), np.array([1.0]))
    assert loss_by_sigma(model, images(), np.array([1.0]), ONE_HOT).shape == (1, 2)


@pytest.mark.parametrize(
    "content, phrase",
    [
        (b"", "not a readable safetensors file, damaged"),
        (b"{}", "not a readable safetensors file, damaged"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (save({}), "format must be 'art_rl.training.state', got None"),
        (save({}, {"json": "x {}"}), "format must be 'art_rl.training.state', got None"),
        (
            save({}, {"json": 'x {"format": "a", "format": "a"}'}),
            "the key 'format' is given 2 times",
        ),
    ],
)
def test_a_state_file_without_a_state_says_delete_the_folder(tmp_path, content, phrase):
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(
        ArtRLError, match=rf"state\.safetensors: .*{phrase}.*; delete the folder to start anew"
    ):
        train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False)


def test_a_state_is_of_as_many_iterations_as_it_has_losses(tmp_path):
    train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False, stop_after=9)
    _, head = read_tensors(tmp_path / "state.safetensors", "art_rl.training.state")
    assert len(head["losses"]) == 8
    _, record = train(images(), TINY, settings(), 0.5, state_dir=tmp_path, progress=False)
    assert record["loss"][:8] == head["losses"] and len(record["loss"]) == 12


def test_trust_follows_the_noise_a_network_was_trained_on(tmp_path):
    """From the settings through the saved network and the measured profile to the schedule."""
    noise = (0.5, 0.9)
    plain = train(images(), TINY, settings(), 0.5, progress=False)
    other = train(images(), TINY, settings(P_mean=0.5, P_std=0.9), 0.5, progress=False)
    expected = {"plain": (-1.2, 1.2), "other": noise}
    for name, (model, record) in {"plain": plain, "other": other}.items():
        save_model(tmp_path / f"{name}.safetensors", model, record)
        loaded = load_model(tmp_path / f"{name}.safetensors")
        assert model.trained_noise == loaded.trained_noise == expected[name]
        assert trained_noise(CountingDenoiser(loaded)) == expected[name]
        start = 80 * torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(5))
        profile = measure_profile(loaded, start.double(), 80.0, 0.002, levels=32, progress=False)
        profile.save(tmp_path / "profile.npz")
        profile = Profile.load(tmp_path / "profile.npz")
        assert profile.trained_noise == expected[name]
        assert ("trained_noise" in profile.settings) == (name == "other")
        details = quadrature_schedule(profile, 5).provenance["details"]
        low, high = details["trust"]
        centre, spread = expected[name]
        assert np.log([low, high]) == pytest.approx(
            [centre - 2.25 * spread, centre + 2.25 * spread]
        )


def test_a_network_that_ships_is_the_one_training_gives(tmp_path):
    config, chosen = UNetConfig((1, 4, 4), (8, 8)), settings(iterations=4)
    trained, record = train(images(), config, chosen, 0.5, progress=False)
    path = tmp_path / "net.safetensors"
    save_model(path, trained, {**record, "data": "digits"})
    same = chosen.replace(checkpoint_every=7)
    model, found = shipped_network(path, config, same, "digits", "cpu")
    assert model.digest == trained.digest and found["loss"] == record["loss"]
    for other, phrase in [
        ((UNetConfig((1, 4, 4), (8, 16)), chosen, "digits"), "has network"),
        ((config, chosen.replace(P_mean=0.5), "digits"), "training.P_mean -1.2, .* asks for 0.5"),
        ((config, chosen, "mnist"), "has data digits"),
    ]:
        with pytest.raises(ArtRLError, match=phrase):
            shipped_network(path, *other, "cpu")
    header = read_json(path.with_suffix(".json"))
    header["training"]["iterations_done"] = 3
    write_json(path.with_suffix(".json"), header)
    with pytest.raises(ArtRLError, match="3 of 4 iterations"):
        shipped_network(path, config, chosen, "digits", "cpu")
    save_model(path, trained)
    with pytest.raises(ArtRLError, match=r"does not say how it was trained .data, iterations_done"):
        shipped_network(path, config, chosen, "digits", "cpu")


def test_a_longer_decay_is_a_longer_run_ended_early():
    config = UNetConfig((1, 4, 4), (8, 8))
    long = settings(iterations=8)
    early, _ = train(images(), config, long, 0.5, progress=False, stop_after=4)
    same, _ = train(
        images(), config, long.replace(iterations=4, decay_iterations=8), 0.5, progress=False
    )
    other, _ = train(images(), config, long.replace(iterations=4), 0.5, progress=False)
    assert same.digest == early.digest != other.digest
