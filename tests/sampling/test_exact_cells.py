"""Cells: NFE counted, noise paired, RMSE and W2 against exact answers, bad schedules refused."""

import math

import numpy as np
import pytest
import torch

from art_rl.denoisers.exact import Gaussian
from art_rl.errors import ArtRLError
from art_rl.sampling.exact_cells import evaluate_cells, make_blocks
from art_rl.sampling.experiment import Experiment
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

STD, TOP = 0.5, 10.0


@pytest.fixture(scope="module")
def setting():
    experiment = Experiment("toy", Gaussian(STD), 0.002, TOP, "noise")
    return experiment, *make_blocks(experiment, 400, 2, 7, 64)


def test_reference_is_the_exact_flow(setting):
    experiment, blocks, facts = setting
    for block in blocks:
        exact = experiment.denoiser.flow(block.start, TOP, 0.0)
        # 1e-5 is the share of the reference's last Euler step from sigma_min = 0.002.
        assert (block.end - exact).abs().max() < 5e-5
    assert facts["seeds"] == [7, 8] and facts["reference_nfe"] > 250
    assert not torch.equal(blocks[0].start, blocks[1].start)


def test_rmse_of_gaussian_data_is_known(setting):
    """Euler on Gaussian data multiplies x by a number, so the error is known from the noise alone."""
    experiment, blocks, _ = setting
    schedule = baseline_schedule("gaussian", 4, TOP, 0.002, STD)
    rows = evaluate_cells(experiment, blocks, [schedule], "euler")
    factor = 1.0
    for high, low in zip(schedule.sigmas[:-1], schedule.sigmas[1:], strict=True):
        factor *= 1 + (low - high) * high / (STD**2 + high**2)
    exact = STD / math.sqrt(STD**2 + TOP**2)
    for row, block in zip(rows, blocks, strict=True):
        expected = abs(factor - exact) * float(block.start.square().mean().sqrt())
        assert math.isclose(row["rmse"], expected, rel_tol=1e-3)
        assert row["nfe"] == 4 and row["K"] == 4 and row["method"] == "gaussian"


@pytest.mark.parametrize(("solver", "calls"), [("euler", 5), ("heun", 9), ("rk4", 17)])
def test_nfe_is_counted(setting, solver, calls):
    experiment, blocks, _ = setting
    schedule = baseline_schedule("edm", 5, TOP, 0.002, STD)
    rows = evaluate_cells(experiment, blocks, [schedule], solver)
    assert [row["nfe"] for row in rows] == [calls, calls]
    assert [row["block"] for row in rows] == [0, 1]


def test_w2_approaches_its_floors(setting):
    experiment, blocks, facts = setting
    fine = baseline_schedule("gaussian", 400, TOP, 0.002, STD)
    rows = evaluate_cells(experiment, blocks, [fine], "rk4")
    # With no discretisation error left the sample is the reference's.
    np.testing.assert_allclose([row["w2"] for row in rows], facts["w2_reference"], rtol=1e-2)
    # sd of the floor's mean: 50 repeats.
    assert 0 < facts["w2_floor"]["mean"] < 0.2 * STD
    coarse = evaluate_cells(
        experiment, blocks, [baseline_schedule("uniform", 2, TOP, 0.002, STD)], "euler"
    )
    assert all(row["w2"] > 3 * facts["w2_floor"]["mean"] for row in coarse)


def test_not_converged_is_carried_along(setting):
    experiment, blocks, _ = setting
    schedule = Schedule(
        (TOP, 1.0, 0.0), {"method": "art_rl_paper", "details": {"converged": False}}
    )
    assert not any(
        row["converged"] for row in evaluate_cells(experiment, blocks, [schedule], "euler")
    )


def test_foreign_schedules_are_refused(setting):
    experiment, blocks, _ = setting
    with pytest.raises(ArtRLError, match=r"edm, K = 2: the schedule starts at sigma = 80"):
        evaluate_cells(experiment, blocks, [Schedule((80.0, 1.0, 0.0), {"method": "edm"})], "euler")
    other = Schedule((TOP, 1.0, 0.0), {"method": "edm", "model_digest": "0" * 64})
    with pytest.raises(ArtRLError, match="made for model 000000000000"):
        evaluate_cells(experiment, blocks, [other], "euler")
    with pytest.raises(ArtRLError, match="unknown solver 'rk5'"):
        evaluate_cells(experiment, blocks, [Schedule((TOP, 1.0, 0.0), {"method": "edm"})], "rk5")


def test_a_schedule_typed_by_hand_is_a_row(setting):
    experiment, blocks, _ = setting
    rows = evaluate_cells(experiment, blocks, [Schedule((TOP, 1.0, 0.0))], "euler")
    assert [(row["method"], row["K"], row["converged"]) for row in rows] == [
        ("by hand", 2, True)
    ] * 2
    told = Schedule((TOP, 1.0, 0.0), {"details": ["no", "object"]})
    assert evaluate_cells(experiment, blocks, [told], "euler")[0]["converged"] is True
    with pytest.raises(ArtRLError, match=r"by hand, K = 2: the schedule starts at sigma = 5\.0"):
        evaluate_cells(experiment, blocks, [Schedule((5.0, 1.0, 0.0))], "euler")
