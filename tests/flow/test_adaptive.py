"""The adaptive solver: exact endpoints within its tolerance, calls as counted, clear refusals."""

import numpy as np
import pytest
import torch

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers.adaptive import TOLERANCES, adaptive_points, solve_adaptive

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [0.2, 0.4])


def states(count, dim=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 80 * torch.randn(count, dim, dtype=torch.float64, generator=generator)


def test_the_exact_flow_within_the_tolerance_and_calls_counted():
    gaussian, x = Gaussian(0.5, dim=2, mean=0.3), states(32, 2)
    near = gaussian.flow(x, 80.0, 0.002)
    exact = gaussian(near, torch.tensor(0.002, dtype=torch.float64))  # the last Euler step
    calls = []
    for rtol in (1e-3, 1e-5, 1e-7, 1e-9):
        counting = CountingDenoiser(gaussian)
        found = solve_adaptive(counting, x, 80.0, 0.002, rtol)
        assert found.nfe == counting.calls
        assert found.nfe == 2 + 6 * (len(found.sigmas) - 2 + found.rejected) + 1
        assert found.sigmas[0] == 80.0 and found.sigmas[-2:] == (0.002, 0.0)
        assert (np.diff(found.sigmas) < 0).all() and found.rejected >= 0
        off = float((found.end - exact).square().mean().sqrt())
        assert off < 10 * rtol  # measured 0.4 to 4.8 times
        calls.append(found.nfe)
    # A method of order 5: a hundredth of the tolerance costs 100^(1/5) = 2.5 times the steps.
    assert 1.8 < (calls[3] - 3) / (calls[2] - 3) < 2.8 and calls == sorted(calls)


def test_points_trade_calls_for_error():
    x = states(256)
    end = reference_solution(MIXTURE, x, 80.0, check=0).end
    rows = adaptive_points(MIXTURE, x, end, 80.0, 0.002)
    assert [row["rtol"] for row in rows] == list(TOLERANCES)
    nfe = [row["nfe"] for row in rows]
    assert nfe == sorted(nfe) and nfe[0] < nfe[-1]
    assert rows[-1]["rmse"] < 1e-3 < rows[0]["rmse"]
    assert all(row["solver"] == "dopri5" and row["samples"] == 256 for row in rows)


def test_labels_and_float32_states_reach_the_model():
    class Labelled(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return class_labels.to(x.dtype)

    labels = torch.eye(2)[torch.tensor([0, 1, 1])]
    found = solve_adaptive(
        Labelled(0.5, dim=2), states(3, 2).float(), 80.0, 0.01, 0.1, class_labels=labels
    )
    assert found.end.dtype == torch.float64
    np.testing.assert_allclose(found.end, labels, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rtol": 0.0}, "rtol = 0.0"),
        ({"rtol": float("nan")}, "rtol = nan"),
        ({"atol": -1.0}, "atol = -1.0"),
        ({"sigma_min": 0.0}, "sigma_min = 0.0"),
        ({"sigma_min": 90.0}, "sigma_min < sigma_max"),
        ({"x": torch.full((2, 1), float("inf"))}, "x must be finite"),
    ],
)
def test_impossible_settings_are_one_line(change, complaint):
    good = {"x": states(2), "sigma_max": 80.0, "sigma_min": 0.002, "rtol": 1e-2}
    with pytest.raises(ArtRLError, match=complaint) as caught:
        solve_adaptive(Gaussian(0.5), **{**good, **change})
    assert "\n" not in str(caught.value)


def test_a_denoiser_that_breaks_is_named():
    class Broken(Gaussian):
        def __call__(self, x, sigma, class_labels=None):
            return torch.full_like(x, float("nan")) if float(sigma) < 1 else x / 2

    with pytest.raises(ArtRLError, match="stopped at sigma"):
        solve_adaptive(Broken(0.5), states(2), 80.0, 0.002, 1e-2)
