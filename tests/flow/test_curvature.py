"""|Q| estimators against the Gaussian's closed form and each other; reference walks; profiles."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.curvature import (
    ESTIMATORS,
    derivative_matrix,
    difference,
    jvp,
    rollout,
    second_derivatives,
)
from art_rl.flow.measure_profile import Profile, measure_profile
from art_rl.flow.trajectory import carry, log_lattice, norms, propagate, walk

C, MAX, MIN = 0.5, 80.0, 0.002
GAUSSIAN = Gaussian(C, dim=3)
MIXTURE = GaussianMixture([0.3, 0.3, 0.4], [[-1.2, 0.0], [0.3, 1.0], [0.9, -0.7]], [0.2, 0.4, 0.3])


class Single(GaussianMixture):
    """The same model computing in float32, as networks do."""

    exact = False

    def __call__(self, x, sigma, class_labels=None):
        return super().__call__(x.float(), torch.as_tensor(sigma).float())


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def exact_q(x_start, levels):
    """(M, B, 3): second derivative of x_T sqrt((c^2 + sigma^2) / (c^2 + sigma_max^2))."""
    scale = C**2 * (C**2 + levels**2) ** -1.5 / np.sqrt(C**2 + MAX**2)
    return torch.tensor(scale)[:, None, None] * x_start


def exact_states(x_start, levels):
    return torch.stack([GAUSSIAN.flow(x_start, MAX, float(s)) for s in levels])


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.3, 7.0, 80.0])
def test_jvp_is_exact_and_difference_is_first_order(sigma):
    x = GAUSSIAN.flow(80 * normal(16, 3), MAX, sigma)
    exact = exact_q(80 * normal(16, 3), np.array([sigma]))[0]
    torch.testing.assert_close(jvp(GAUSSIAN, x, sigma)[1], exact, rtol=1e-8, atol=0)
    errors = [
        float((difference(GAUSSIAN, x, sigma, step=step)[1] - exact).norm() / exact.norm())
        for step in (0.02, 0.01)
    ]
    assert 0.9 < np.log2(errors[0] / errors[1]) < 1.1
    # below 2 c the bias is at most eps / 2, in the tail 3 eps / 2
    assert errors[1] < 0.016


def test_jvp_equals_the_paper_form_on_a_mixture():
    """Q = dF/dx F + dF/dpsi with F = -(x - D)/sigma, psi = -sigma, by explicit Jacobians."""
    x, sigma = normal(6, 2), torch.tensor(0.4, dtype=torch.float64)

    def field(state, level):
        return -(state - MIXTURE(state[None], level)[0]) / level

    for row, got in zip(x, jvp(MIXTURE, x, 0.4)[1], strict=True):
        by_x = torch.func.jacrev(field, 0)(row, sigma)
        by_psi = -torch.func.jacfwd(field, 1)(row, sigma)
        torch.testing.assert_close(got, by_x @ field(row, sigma) + by_psi, rtol=1e-9, atol=1e-10)


def test_orders_of_the_rollout_estimators():
    """rollout: points - 1; between two levels: 2 at the geometric mean, 1 at the left level."""
    x_start = 80 * normal(8, 3)
    errors = {"five": [], "three": []}
    for M in (101, 201):
        levels = np.geomspace(4.0, 0.05, M)
        denoised = torch.stack(
            [GAUSSIAN(x, s) for x, s in zip(exact_states(x_start, levels), levels, strict=True)]
        )
        exact = exact_q(x_start, levels)
        inner = slice(2, -2)
        for name, points in (("five", 5), ("three", 3)):
            got = rollout(levels, denoised, points)
            errors[name].append(float((got / exact - 1)[inner].abs().max()))
    orders = {name: np.log2(a / b) for name, (a, b) in errors.items()}
    for name, order in {"five": 4, "three": 2}.items():
        assert abs(orders[name] - order) < 0.15, (name, orders[name])


def test_derivative_matrix_is_exact_for_polynomials():
    levels = np.geomspace(3.0, 0.1, 12)
    for order, points in ((1, 3), (1, 5), (3, 7)):
        matrix = derivative_matrix(levels, order, points)
        for degree in range(points):
            polynomial = np.polynomial.Polynomial.basis(degree)
            np.testing.assert_allclose(
                matrix @ polynomial(levels), polynomial.deriv(order)(levels), rtol=1e-7, atol=1e-6
            )
    for order, points in ((1, 1), (3, 13)):
        with pytest.raises(ArtRLError, match="points must be in"):
            derivative_matrix(levels, order, points)


@pytest.mark.parametrize("levels", [np.geomspace(80.0, 2e-3, 10), np.geomspace(3.0, 0.1, 12)])
def test_derivative_weights_are_those_of_rational_arithmetic(levels):
    """Third derivative from nine nodes; the monomials' linear equations fail on the first lattice.

    Errors: 2e-13 of every weight, but of the node itself 2e-16 of the largest, as the sum vanishes.
    """
    matrix = derivative_matrix(levels, 3, 9)
    for k in (0, 5, len(levels) - 1):
        first = min(max(k - 4, 0), len(levels) - 9)
        rounding = 1e-15 * np.abs(matrix[k]).max()
        assert abs(math.fsum(matrix[k])) < rounding
        nodes = [Fraction(levels[j]) - Fraction(levels[k]) for j in range(first, first + 9)]
        for i, node in enumerate(nodes):
            others = nodes[:i] + nodes[i + 1 :]
            polynomial, scale = [Fraction(1)], Fraction(1)
            for other in others:
                shifted = [Fraction(0), *polynomial]
                polynomial = [a - other * b for a, b in zip(shifted, [*polynomial, 0], strict=True)]
                scale *= node - other
            right = float(6 * polynomial[3] / scale)
            own = rounding if first + i == k else 0.0
            np.testing.assert_allclose(matrix[k, first + i], right, rtol=1e-12, atol=own)


def test_estimators_agree_on_a_mixture_in_float64_and_float32():
    levels = log_lattice(10.0, 0.01, 96)
    x = 10 * normal(32, 2)
    path = walk(MIXTURE, x, levels, solver="rk4")
    exact = norms(second_derivatives(MIXTURE, path, "jvp")).mean(1)
    for estimator, bound in (("difference", 3e-4), ("rollout", 5e-3)):
        got = norms(second_derivatives(MIXTURE, path, estimator)).mean(1)
        assert float((got / exact - 1).abs()[2:-2].max()) < bound
    single = Single(MIXTURE.weights, MIXTURE.means, MIXTURE.stds)
    coarse = log_lattice(10.0, 0.01, 48)
    exact = norms(second_derivatives(MIXTURE, walk(MIXTURE, x, coarse, solver="rk4"), "jvp")).mean(
        1
    )
    path = walk(single, x, coarse)
    assert not path.exact
    for estimator, bound in (("jvp", 0.02), ("difference", 0.06), ("rollout", 0.06)):
        got = norms(second_derivatives(single, path, estimator)).mean(1)
        trusted = (coarse > 0.03) & (coarse < 5)
        assert float((got / exact - 1).abs().numpy()[trusted].max()) < bound


def test_difference_costs_one_call_and_rollout_none():
    counting = CountingDenoiser(GAUSSIAN)
    path = walk(counting, 80 * normal(4, 3), log_lattice(MAX, MIN, 16))
    assert counting.calls == 2 * 16 - 1
    for estimator, calls in (("rollout", 0), ("difference", 16)):
        before = counting.calls
        second_derivatives(counting, path, estimator)
        assert counting.calls - before == calls


def test_walk_follows_the_exact_flow_with_the_order_of_its_solver():
    x = 80 * normal(8, 3)
    for solver, order in (("heun", 2), ("rk4", 4)):
        errors = []
        for M in (65, 129):
            levels = log_lattice(MAX, 0.1, M)
            exact = exact_states(x, levels)
            states = walk(GAUSSIAN, x, levels, solver=solver).states
            errors.append(float((states - exact).norm() / exact.norm()))
        assert abs(np.log2(errors[0] / errors[1]) - order) < 0.25


def test_propagation_on_the_gaussian():
    """The flow is linear: a perturbation at sigma arrives as c / sqrt(c^2 + sigma^2) of itself."""
    levels = log_lattice(MAX, MIN, 129)
    path = walk(GAUSSIAN, 80 * normal(4, 3), levels, solver="rk4")
    vectors = normal(129, 4, 3, seed=1) * 10.0 ** normal(129, 1, 1, seed=2)
    vectors[5, 1] = 0.0
    arrived = propagate(GAUSSIAN, path, vectors)
    factor = torch.tensor(C / np.sqrt(C**2 + levels**2))[:, None, None]
    torch.testing.assert_close(arrived, factor * vectors, rtol=2e-5, atol=1e-12)


def test_carry_in_pieces_and_from_the_end():
    path = walk(MIXTURE, 10 * normal(5, 2), log_lattice(10.0, 0.01, 16))
    nodes = np.array([0, 3, 15, 16])
    starts = torch.stack([*path.states[[0, 3, 15]], path.end]) + 0.01
    whole = carry(MIXTURE, path, nodes, starts)
    torch.testing.assert_close(carry(MIXTURE, path, nodes, starts, batch_size=3), whole)
    assert torch.equal(whole[3], starts[3])
    unmoved = carry(MIXTURE, path, nodes, starts - 0.01)
    torch.testing.assert_close(unmoved, path.end.expand_as(unmoved), rtol=0, atol=1e-12)
    for bad in ([3, 0, 15, 16], [0, 3, 15, 17], [0, 3]):
        with pytest.raises(ArtRLError, match="nodes must be"):
            carry(MIXTURE, path, np.array(bad), starts)


def test_class_labels_are_carried_with_their_samples():
    class Labelled(Gaussian):
        label_dim = 2

        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x, sigma) + class_labels[:, :1].to(x.dtype)

    labels = torch.eye(2)[torch.tensor([0, 1, 1])]
    model, x = Labelled(C, dim=3), 80 * normal(3, 3)
    profile = measure_profile(model, x, MAX, MIN, 16, class_labels=labels, progress=False)
    alone = measure_profile(
        model, x[[0, 0]], MAX, MIN, 16, class_labels=labels[[0, 0]], progress=False
    )
    np.testing.assert_allclose(profile.table[0], alone.table[0], rtol=1e-6)


@pytest.fixture(scope="module")
def profile():
    return measure_profile(GAUSSIAN, 80 * normal(64, 3), MAX, MIN, progress=False)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_profile_of_the_gaussian(estimator):
    x = 80 * normal(64, 3)
    profile = measure_profile(GAUSSIAN, x, MAX, MIN, estimator=estimator, progress=False)
    s, size = profile.levels, float(x.norm(dim=1).mean()) / np.hypot(C, MAX)
    a = C**2 + s**2
    inner = slice(2, -2)
    np.testing.assert_allclose(profile.mean[1][inner], (size * C**2 * a**-1.5)[inner], rtol=4e-4)
    third = size * 3 * C**2 * s * a**-2.5
    np.testing.assert_allclose(profile.mean[2][inner], third[inner], rtol=2e-2)
    fifth = size * C**2 * np.abs(45 * s * a**-3.5 - 105 * s**3 * a**-4.5)
    middle = (s > 0.05) & (s < 5) & (np.abs(s / np.sqrt(0.75 * C**2) - 1) > 0.2)
    np.testing.assert_allclose(profile.mean[4][middle], fifth[middle], rtol=2e-2)
    np.testing.assert_allclose(profile.sensitivity, C / np.sqrt(a), rtol=5e-4)
    each = x.norm(dim=1).numpy()[:, None] / np.hypot(C, MAX) * C**2 * a**-1.5
    np.testing.assert_allclose(profile.table[:, inner], each[:, inner], rtol=4e-4)
    spread = each.std(0, ddof=1) / np.sqrt(64)
    np.testing.assert_allclose(profile.standard_error[1][inner], spread[inner], rtol=1e-3)
    # one direction per trajectory and a linear flow: the ratio has no spread
    assert profile.sensitivity_error.max() < 1e-4
    assert profile.exact and profile.model_digest == GAUSSIAN.digest


def test_standard_errors_cover_the_truth_on_a_mixture():
    """Means over 64 trajectories scatter around the mean over 4096 as their errors say."""
    x = 10 * normal(4096, 2)
    large = measure_profile(MIXTURE, x, 10.0, 0.01, 48, progress=False, sensitivity_samples=512)
    small = measure_profile(MIXTURE, x[:64], 10.0, 0.01, 48, progress=False)
    z = (small.mean[1] - large.mean[1]) / small.standard_error[1]
    assert np.sqrt(np.mean(z**2)) < 2.5 and np.abs(z).max() > 0.05
    z = (small.sensitivity - large.sensitivity) / np.hypot(
        small.sensitivity_error, large.sensitivity_error
    )
    assert np.abs(z[:-8]).max() < 4
    assert small.sensitivity_error.max() > 0.01  # it does vary between trajectories here


def test_evaluations_are_what_the_settings_say():
    class PerSample(Single):
        evaluations = 0

        def __call__(self, x, sigma, class_labels=None):
            PerSample.evaluations += len(x)
            return super().__call__(x, sigma)

    model = PerSample(MIXTURE.weights, MIXTURE.means, MIXTURE.stds)
    for estimator in ("rollout", "difference"):
        PerSample.evaluations = 0
        profile = measure_profile(
            model, 10 * normal(70, 2), 10.0, 0.01, 32, estimator, progress=False
        )
        assert abs(PerSample.evaluations / profile.settings["evaluations"] - 1) < 0.06
    assert not profile.exact


def test_profile_round_trip_and_refusals(profile, tmp_path):
    path = tmp_path / "profile.npz"
    profile.save(path)
    back = Profile.load(path)
    assert np.array_equal(back.levels, profile.levels) and np.array_equal(back.table, profile.table)
    for p in (1, 2, 4):
        assert np.array_equal(back.mean[p], profile.mean[p])
        assert np.array_equal(back.standard_error[p], profile.standard_error[p])
    assert back.settings == profile.settings and back.exact is True
    assert back.sigma_data == profile.sigma_data and back.model_digest == profile.model_digest
    np.savez(tmp_path / "other.npz", levels=profile.levels)
    with pytest.raises(ArtRLError, match=r"other\.npz: not a \|Q\| profile"):
        Profile.load(tmp_path / "other.npz")
    from art_rl.files import read_npz, write_npz

    arrays = read_npz(path)
    arrays["mean_1"] = np.where(np.arange(len(profile.levels)) == 3, np.nan, arrays["mean_1"])
    write_npz(path, **arrays)
    with pytest.raises(ArtRLError, match=r"profile\.npz.*mean\[1\] must be .* finite"):
        Profile.load(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(estimator="jvpp"), "unknown estimator 'jvpp'; known: rollout, difference, jvp"),
        (dict(sigma_min=80.0), "sigma_min < sigma_max"),
        (dict(sigma_min=0.0), "needs sigma_min > 0"),
        (dict(levels=7), "levels must be a whole number of at least 8, got 7"),
        (dict(x_start=normal(1, 3)), "at least 2 trajectories"),
        (dict(x_start=normal(4, 2)), r"must have shape \(B, 3\).*got \(4, 2\)"),
        (dict(x_start=torch.full((4, 3), torch.nan)), "finite, 12 values are not"),
        (dict(class_labels=torch.eye(2)), "must have 4 rows like x_start, got 2"),
        (dict(sensitivity_samples=1), "sensitivity_samples >= 2"),
    ],
)
def test_bad_arguments(change, message):
    good = dict(x_start=normal(4, 3), sigma_max=MAX, sigma_min=MIN, progress=False)
    with pytest.raises(ArtRLError, match=message):
        measure_profile(GAUSSIAN, **(good | change))


def test_a_model_that_returns_nan_is_named():
    class Broken(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x, sigma) * (torch.nan if float(sigma) < 1 else 1)

    with pytest.raises(ArtRLError, match="returned NaN or infinity at sigma = 0"):
        measure_profile(Broken(C, dim=3), normal(4, 3), MAX, MIN, progress=False)
