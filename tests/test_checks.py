"""Rules that several places share."""

import numpy as np
import pytest

from art_rl.checks import check_seed
from art_rl.errors import ArtRLError
from art_rl.metrics.wasserstein import sampling_floor
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.clock import read_clock

MODEL = {
    "kind": "exact",
    "target": {"kind": "gaussian", "std": 0.5, "dim": 1},
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "start": "exact",
}


@pytest.mark.parametrize("seed", [2**63, 2**64, -1, 1.0, True, "1", None])
def test_seeds_torch_cannot_take_are_refused_where_noise_is_drawn(seed):
    experiment = build_experiment("g", MODEL)
    for draw in (
        lambda: check_seed(seed),
        lambda: experiment.draw(2, seed),
        lambda: sampling_floor(experiment.denoiser, 10, 1, seed),
    ):
        with pytest.raises(ArtRLError, match=r"seed must be a whole number from 0 to 2\^63 - 1"):
            draw()


def test_seeds_up_to_the_last_one():
    experiment = build_experiment("g", MODEL)
    assert check_seed(np.int64(7)) == 7
    last = experiment.draw(3, 2**63 - 1)
    assert last.isfinite().all() and not (last == experiment.draw(3, 2**63 - 2)).any()


def test_a_clock_of_one_step_has_nothing_to_read():
    """It gave NaN: log(0) between its only levels."""
    levels = np.array([80.0, 0.0])
    np.testing.assert_array_equal(read_clock(levels, 1), levels)
    for K in (2, 10):
        with pytest.raises(ArtRLError, match=f"a clock of 1 step cannot be read at K = {K}"):
            read_clock(levels, K)
    two = read_clock(np.array([80.0, 1.0, 0.0]), 5)
    assert (np.diff(two) < 0).all() and two[-1] == 0
