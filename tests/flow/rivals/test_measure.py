"""Statistics of Gaussian data against their closed form; the network's evaluations are counted."""

import numpy as np
import pytest
import torch

from art_rl.denoisers.exact import Gaussian
from art_rl.errors import ArtRLError
from art_rl.flow.rivals.measure import measure_rival_statistics, teacher_path

C = 0.5


class Counted:
    """A denoiser that counts rows, with or without exact samples."""

    label_dim = 0

    def __init__(self, model, with_samples=True):
        self.model, self.rows = model, 0
        self.shape, self.sigma_data, self.digest = model.shape, model.sigma_data, model.digest
        if with_samples:
            self.sample = model.sample

    def __call__(self, x, sigma, class_labels=None):
        self.rows += len(x)
        return self.model(x, sigma, class_labels)


def measure(model, **options):
    x = 80.0 * torch.randn(16, *model.shape, generator=torch.Generator().manual_seed(1)).double()
    options = {"levels": 24, "teacher_levels": 21, "paths": 4096, "progress": False} | options
    return measure_rival_statistics(model, x, 80.0, 0.002, **options)


def test_statistics_of_gaussian_data():
    statistics = measure(Gaussian(C, dim=4))
    s = statistics.levels
    keep, variance = C**2 / (C**2 + s**2), C**2 + s**2
    # 4 x 4096 numbers: a relative spread of sqrt(2 / 16384) = 1.1 %.
    np.testing.assert_allclose(statistics.denoising_error, C**2 * (1 - keep), rtol=0.05)
    score = (1 / variance[:-1] - 1 / variance[1:]) ** 2 * variance[1:]
    np.testing.assert_allclose(statistics.score_change, score, rtol=0.05)
    i, j = 8, 13
    change = (
        keep[i] ** 2 * variance[i]
        + keep[j] ** 2 * variance[j]
        - 2 * keep[i] * keep[j] * variance[j]
    )
    assert statistics.denoiser_change[i, j] == pytest.approx(change, rel=0.05)
    assert (statistics.denoiser_change == statistics.denoiser_change.T).all()


@pytest.mark.parametrize("with_samples", [True, False])
def test_evaluations_are_what_is_reported(with_samples):
    model = Counted(Gaussian(C, dim=2), with_samples)
    statistics = measure(model, paths=48, batch_size=5)
    spent = statistics.evaluations
    paths = 48 * 24 + 48 * 23
    assert model.rows == spent["jump_cost"] + paths
    own = 0 if with_samples else spent["jump_cost"]
    assert spent["denoising_error"] == own + 48 * 24
    assert spent["score_change"] == own + 48 * 2 * 23


def test_the_batch_does_not_change_the_teachers_cost_and_one_dimension_uses_distances():
    model = Gaussian(C, dim=3)
    whole, parts = measure(model, paths=8), measure(model, paths=8, batch_size=3)
    np.testing.assert_allclose(whole.jump_cost, parts.jump_cost, atol=1e-12)
    assert whole.settings["jump_cost"] == "dev"
    assert measure(Gaussian(C), paths=8).settings["jump_cost"] == "l2"


def test_a_teacher_takes_one_call_a_step():
    with pytest.raises(ArtRLError, match="one call a step"):
        teacher_path(Gaussian(C), torch.ones(2, 1).double(), np.array([2.0, 1.0]), solver="heun")


def test_a_network_that_diverges_is_named():
    class Broken(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return super().__call__(x, sigma) * (
                float("nan") if sigma.reshape(-1)[0] < 0.1 else 1.0
            )

    with pytest.raises(ArtRLError, match="NaN or infinity at sigma"):
        measure(Broken(C, dim=2), paths=4)


@pytest.mark.parametrize("options", [{"paths": 1}, {"teacher_levels": 2}, {"levels": 4}])
def test_bad_sizes_are_refused(options):
    with pytest.raises(ArtRLError, match=next(iter(options))):
        measure(Gaussian(C), **options)
