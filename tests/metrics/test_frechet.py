"""Frechet distance against exact answers, the official values and torch-free algebra."""

import numpy as np
import pytest

from art_rl.errors import ArtRLError
from art_rl.files import write_npz
from art_rl.metrics.frechet import (
    Moments,
    Target,
    frechet_between,
    frechet_distance,
    load_reference,
    merge,
)


def exact_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """Independent form: tr (S1 S2)^(1/2) is the nuclear norm of the centred cross-Gram matrix."""
    ca, cb = a - a.mean(0), b - b.mean(0)
    na, nb = len(a) - 1, len(b) - 1
    overlap = np.linalg.svd(ca @ cb.T, compute_uv=False).sum() / np.sqrt(na * nb)
    difference = a.mean(0) - b.mean(0)
    return difference @ difference + (ca**2).sum() / na + (cb**2).sum() / nb - 2 * overlap


def test_commuting_gaussians_closed_form():
    # Diagonal covariances: FD = |mu|^2 + sum (s1 - s2)^2.
    s1, s2 = np.array([1.0, 2.0, 0.5]), np.array([0.25, 2.0, 3.0])
    mu = np.array([0.3, -1.0, 2.0])
    got = frechet_distance(np.zeros(3), np.diag(s1**2), mu, np.diag(s2**2))
    assert got == pytest.approx(mu @ mu + ((s1 - s2) ** 2).sum(), rel=1e-14)


def test_two_by_two_closed_form():
    # For 2x2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)); here M = S1 S2, which do not commute.
    s1 = np.array([[2.0, 0.8], [0.8, 1.0]])
    s2 = np.array([[0.5, -0.3], [-0.3, 1.5]])
    product = s1 @ s2
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    want = np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(np.zeros(2), s1, np.zeros(2), s2) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("sizes", [(300, 200, 20), (12, 15, 40)], ids=["full", "rank_deficient"])
def test_agrees_with_cross_gram_form(sizes):
    rng = np.random.default_rng(0)
    na, nb, d = sizes
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    a, b = rng.normal(size=(na, d)) @ mix, 1.3 * rng.normal(size=(nb, d)) @ mix.T + 0.2
    got = frechet_between(Moments.of(a), Moments.of(b))
    assert got == pytest.approx(exact_from_features(a, b), rel=1e-10)


@pytest.mark.parametrize(
    "name", ["fid_2000_3000_d64", "fid_rank_deficient_50_60_d96", "fid_same_set_d64"]
)
def test_official_values(test_data, name):
    with np.load(test_data(f"goldens/fid/{name}.npz"), allow_pickle=False) as golden:
        golden = dict(golden)
    ours = frechet_between(Moments.of(golden["feats_a"]), Moments.of(golden["feats_b"]))
    scale = np.trace(golden["sigma_a"])
    tolerance = 1e-6 * max(float(golden["fid"]), 1e-6 * scale)
    assert abs(ours - float(golden["fid"])) <= tolerance
    exact = exact_from_features(golden["feats_a"], golden["feats_b"])
    assert ours == pytest.approx(exact, rel=1e-10, abs=1e-10 * scale)
    mu, sigma = Moments.of(golden["feats_a"]).mean_and_covariance()
    np.testing.assert_allclose(mu, golden["mu_a"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(sigma, golden["sigma_a"], rtol=0, atol=1e-12 * scale)


def test_same_set_is_zero_and_never_negative():
    features = np.random.default_rng(1).normal(size=(100, 30))
    moments = Moments.of(features)
    assert 0.0 <= frechet_between(moments, moments) < 1e-12


def test_streaming_equals_one_pass_in_any_split(tmp_path):
    features = np.random.default_rng(2).normal(3.0, 1.0, size=(101, 7))
    whole = Moments.of(features)
    for step in (1, 13, 100):
        parts = [Moments.of(features[i : i + step]) for i in range(0, len(features), step)]
        merged = merge(parts)
        assert merged.n == 101
        np.testing.assert_allclose(merged.total, whole.total, rtol=1e-13)
        np.testing.assert_allclose(merged.outer, whole.outer, rtol=1e-13)
    mu, sigma = whole.mean_and_covariance()
    np.testing.assert_allclose(mu, features.mean(0), rtol=1e-13)
    np.testing.assert_allclose(sigma, np.cov(features, rowvar=False), rtol=1e-10, atol=1e-12)
    whole.save(tmp_path / "moments.npz")
    loaded = Moments.load(tmp_path / "moments.npz")
    assert loaded.n == whole.n
    assert (loaded.total == whole.total).all() and (loaded.outer == whole.outer).all()
    mu_file, sigma_file = load_reference(tmp_path / "moments.npz")
    assert (mu_file == mu).all() and (sigma_file == sigma).all()


@pytest.mark.parametrize("offset", [1e5, 1e7, 1e9])
def test_means_far_from_zero(offset):
    """FID does not see a common shift; sums of raw products gave 0 at 1e8."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(300, 6)), 1.3 * rng.normal(size=(400, 6)) + 0.5
    near = frechet_between(Moments.of(a), Moments.of(b))
    parts = [Moments.of(part + offset) for part in np.array_split(b, 7)]
    far = frechet_between(Moments.of(a + offset), merge(parts))
    assert far == pytest.approx(near, rel=20 * np.spacing(offset))
    assert near == pytest.approx(exact_from_features(a, b), rel=1e-12)
    # sets that are 1e7 spreads apart themselves
    apart = merge([Moments.of(a), Moments.of(a + offset)])
    half = offset**2 * 150 / (600 - 1)
    mu, sigma = apart.mean_and_covariance()
    np.testing.assert_allclose(np.diag(sigma), a.var(0) * 600 / 599 + half, rtol=1e-12)
    np.testing.assert_allclose(mu, a.mean(0) + offset / 2, rtol=1e-14)


def test_old_files_of_raw_products_are_refused(tmp_path):
    write_npz(tmp_path / "old.npz", n=np.int64(4), total=np.ones(2), outer=np.eye(2))
    with pytest.raises(ArtRLError, match=r"n, total, centred; this one \['n', 'outer', 'total'\]"):
        Moments.load(tmp_path / "old.npz")


def test_official_reference_file(tmp_path):
    write_npz(tmp_path / "ref.npz", mu=np.ones(3), sigma=np.eye(3))
    mu, sigma = load_reference(tmp_path / "ref.npz")
    assert frechet_distance(mu, sigma, np.zeros(3), np.eye(3)) == pytest.approx(3.0, rel=1e-14)
    write_npz(tmp_path / "bad.npz", mu=np.ones(3), sigma=np.eye(4))
    with pytest.raises(ArtRLError, match=r"bad\.npz: sigma must have shape \(3, 3\)"):
        load_reference(tmp_path / "bad.npz")
    write_npz(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(ArtRLError, match="n, total, centred"):
        load_reference(tmp_path / "other.npz")


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images(n):
    few = Moments.of(np.ones((n, 4)))
    with pytest.raises(ArtRLError, match=f"at least 2 images, got {n}"):
        frechet_between(few, Moments.of(np.eye(4)))


def test_bad_features_are_refused():
    with pytest.raises(ArtRLError, match=r"mu_b must have shape \(3,\)"):
        frechet_between(Moments.of(np.eye(3)), Moments.of(np.eye(4)))
    with pytest.raises(ArtRLError, match="sizes 3 and 4"):
        Moments.of(np.eye(3)) + Moments.of(np.eye(4))
    moments = Moments.of(np.eye(3))
    with pytest.raises(ArtRLError, match=r"shape \(n, 3\), got \(2, 4\)"):
        moments.update(np.ones((2, 4)))
    with pytest.raises(ArtRLError, match="row 1 of this batch"):
        moments.update([[0, 0, 0], [0, np.nan, 0]])
    assert moments.n == 3  # a refused batch leaves the sums as they were
    with pytest.raises(ArtRLError, match="sigma_a must be finite"):
        frechet_distance(np.zeros(1), np.array([[np.inf]]), np.zeros(1), np.eye(1))
    with pytest.raises(ArtRLError, match="empty"):
        merge([])


def test_damaged_moments_file(tmp_path):
    path = tmp_path / "moments.npz"
    Moments.of(np.eye(3)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtRLError, match="damaged or truncated"):
        Moments.load(path)


def with_entry(value, index, entry):
    changed = np.array(value, dtype=np.float64)
    changed[index] = entry
    return changed


@pytest.mark.parametrize(
    "arrays, phrase",
    [
        ({"mu": with_entry(np.ones(3), 1, np.nan)}, r"mu must be finite, 1 of 3 .* at \[1\]: nan"),
        (
            {"sigma": with_entry(np.eye(3), (0, 2), np.inf)},
            r"sigma must be finite, 1 of 9 .*\[0, 2\]",
        ),
        ({"sigma": with_entry(np.eye(3), (0, 2), 0.5)}, "sigma must be symmetric, .* up to 0.5"),
        ({"sigma": with_entry(np.eye(3), (1, 1), -1)}, "sigma must be positive semidef.* is -1 "),
        ({"sigma": -np.eye(3)}, "sigma must be positive semidefinite"),
        ({"mu": np.ones((3, 1))}, r"mu must have shape \(d,\), got \(3, 1\)"),
        ({"mu": np.ones(0), "sigma": np.ones((0, 0))}, "mu must have shape"),
        ({"mu": np.array(["a", "b", "c"])}, "mu must hold numbers"),
    ],
)
def test_a_reference_that_is_no_gaussian_is_refused_by_file_and_key(tmp_path, arrays, phrase):
    path = tmp_path / "ref.npz"
    write_npz(path, **({"mu": np.ones(3), "sigma": np.eye(3)} | arrays))
    with pytest.raises(ArtRLError, match=rf"ref\.npz: {phrase}"):
        load_reference(path)


@pytest.mark.parametrize(
    "mu, sigma, phrase",
    [
        (np.zeros(3), -np.eye(3), "must be positive semidefinite"),
        (np.zeros(3), np.triu(np.ones((3, 3))), "must be symmetric"),
        (np.zeros(3), np.eye(3) * np.nan, "must be finite"),
        (np.zeros(3) + 1j, np.eye(3), "must hold numbers, got dtype complex128"),
        (np.array(["1", "2", "3"]), np.eye(3), "must hold numbers"),
    ],
)
def test_distances_refuse_what_is_no_gaussian(mu, sigma, phrase):
    """-I was at distance 0 from I, and imaginary parts were dropped."""
    with pytest.raises(ArtRLError, match=rf"(mu|sigma)_b {phrase}"):
        frechet_distance(np.zeros(3), np.eye(3), mu, sigma)
    with pytest.raises(ArtRLError, match=phrase):
        Target.of(mu, sigma)


@pytest.mark.parametrize(
    "arrays, phrase",
    [
        ({"n": np.int64(1)}, r"n \(number of images\) of a reference must be at least 2, got 1"),
        ({"n": np.int64(-3)}, "shapes do not fit"),
        ({"n": np.float64(4)}, "n must be a whole number, got dtype float64"),
        ({"n": np.int64(0)}, "n is 0, but total and centred are not"),
        ({"centred": -np.eye(3)}, "the covariance of centred must be positive semidefinite"),
        ({"total": np.array([np.nan, 0, 0])}, "total must be finite"),
        ({"centred": np.full((3, 3), np.inf)}, "centred must be finite"),
    ],
)
def test_moments_with_impossible_sums_are_refused_by_file_and_key(tmp_path, arrays, phrase):
    whole = Moments.of(np.random.default_rng(0).normal(3, 1, (40, 3)))
    sums = {"n": np.int64(whole.n), "total": whole.total, "centred": whole.outer}
    write_npz(tmp_path / "m.npz", **(sums | arrays))
    with pytest.raises(ArtRLError, match=rf"m\.npz: {phrase}"):
        load_reference(tmp_path / "m.npz")


def test_rounding_of_float32_sums_and_low_rank_are_no_fault(tmp_path):
    features = np.random.default_rng(0).normal(size=(5, 40))  # rank 4 of 40
    sigma = np.cov(features, rowvar=False).astype(np.float32)
    sigma[0, 1] *= 1 + 1e-6
    write_npz(tmp_path / "ref.npz", mu=features.mean(0).astype(np.float32), sigma=sigma)
    mu, loaded = load_reference(tmp_path / "ref.npz")
    assert mu.dtype == loaded.dtype == np.float64 and (loaded == sigma).all()
