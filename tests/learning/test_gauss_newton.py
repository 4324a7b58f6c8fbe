"""The row gauss_newton: best start, verdict on other states, evaluations (refinement: test_endpoint)."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import solve
from art_rl.learning import gauss_newton
from art_rl.learning.gauss_newton import gauss_newton_schedules
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule

MAX, MIN = 80.0, 0.002
MIXTURE = GaussianMixture(
    [0.2, 0.3, 0.3, 0.2], [[-1.5], [-0.5], [0.6], [1.4]], [0.15, 0.4, 0.2, 0.3]
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


X, X_VALID = MAX * normal(300, 1), MAX * normal(300, 1, seed=1)


def starts(*budgets, names=("edm", "gaussian", "uniform")):
    return {K: {n: baseline_schedule(n, K, MAX, MIN, 0.5) for n in names} for K in budgets}


@lru_cache
def reference_end(x):
    return reference_solution(MIXTURE, x, MAX, None, 96, MIN, check=0).end


def rmse(schedule, solver, x):
    return float((solve(MIXTURE, x, schedule, solver) - reference_end(x)).square().mean().sqrt())


@pytest.mark.parametrize("solver, share", [("euler", 0.95), ("heun", 0.99), ("rk4", 0.5)])
def test_it_improves_on_its_best_start_on_states_it_did_not_see(solver, share):
    given = starts(3, 5)
    found = gauss_newton_schedules(MIXTURE, X, X_VALID, MAX, MIN, solver, given, model="m")
    fresh = MAX * normal(2000, 1, seed=2)
    for K, schedule in found.items():
        held = schedule.provenance
        details = held["details"]
        errors = {name: rmse(start, solver, X) for name, start in given[K].items()}
        assert details["start"] == min(errors, key=errors.get)
        assert details["verdict"] == "improved" and schedule.K == K
        assert (held["method"], held["solver"], held["model"]) == ("gauss_newton", solver, "m")
        start = given[K][details["start"]]
        assert details["valid_rmse_start"] == pytest.approx(rmse(start, solver, X_VALID), rel=1e-9)
        assert details["valid_rmse"] == pytest.approx(rmse(schedule, solver, X_VALID), rel=1e-9)
        assert rmse(schedule, solver, fresh) < share * rmse(start, solver, fresh)
        assert 0 < details["reference_error"] < 1e-4


def test_evaluations_are_those_of_the_denoiser():
    """Per state, not per call: the currency of a network."""

    class Rows(CountingDenoiser):
        rows = 0

        def __call__(self, x, sigma, class_labels=None):
            Rows.rows += len(x)
            return super().__call__(x, sigma, class_labels)

    for K, solver in ((2, "euler"), (4, "heun")):
        Rows.rows = 0
        found = gauss_newton_schedules(Rows(MIXTURE), X, X_VALID, MAX, MIN, solver, starts(K))[K]
        details = found.provenance["details"]
        # the first call only asks whether answers are float64
        assert details["evaluations"] + details["reference_evaluations"] == Rows.rows - 1


def test_a_start_that_cannot_be_improved_is_returned_as_it_was():
    """The best single level of K = 2 on the validation states themselves."""
    levels = np.geomspace(0.3, 3.0, 120)
    errors = [rmse(Schedule((MAX, float(s), 0.0)), "euler", X_VALID) for s in levels]
    best = Schedule((MAX, float(levels[int(np.argmin(errors))]), 0.0), {"method": "typed"})
    found = gauss_newton_schedules(
        MIXTURE, X[:40], X_VALID, MAX, MIN, "euler", {2: {"typed": best}}
    )[2]
    assert found.provenance["details"]["verdict"] == "not improved on its start"
    assert found.sigmas == best.sigmas
    assert found.provenance["details"]["valid_rmse"] == pytest.approx(min(errors), rel=1e-9)


def test_verdicts(monkeypatch):
    before = torch.full((400,), 1e-2, dtype=torch.float64)
    noise = 1e-3 * normal(400, seed=3)
    noise -= noise.mean()
    verdict = gauss_newton._verdict
    assert verdict(before, before - 5e-3 + noise, 1e-6) == "improved"
    assert verdict(before, before - 5e-5 + noise, 1e-6) == "tie"
    assert verdict(before, before + 5e-5, 1e-6) == "not improved on its start"
    assert verdict(before, before, 1e-6) == "not improved on its start"
    # a root-mean-square error of 0.1: a gain of 0.029 with a reference that is 0.05 off
    assert verdict(before, before - 5e-3, 5e-2) == "within the reference's error"
    assert verdict(before, before * torch.nan, 1e-6) == "not improved on its start"


def test_a_gain_below_the_reference_is_none(monkeypatch):
    """A reference of twelve steps is worse than what is refined against it: the start stays."""
    monkeypatch.setattr(gauss_newton, "EXACT", gauss_newton._Sizes(100, 4, 3, 12, 64))
    given = starts(20, names=("gaussian",))
    found = gauss_newton_schedules(MIXTURE, X, X_VALID, MAX, MIN, "heun", given)[20]
    assert found.provenance["details"]["verdict"] == "within the reference's error"
    assert found.sigmas == given[20]["gaussian"].sigmas


def test_networks_get_few_states(monkeypatch):
    class Network(Gaussian):
        exact = False
        seen = 0

        def __call__(self, x, sigma, class_labels=None):
            Network.seen = max(Network.seen, len(x))
            return super().__call__(x.float(), torch.as_tensor(sigma).float())

    found = gauss_newton_schedules(Network(0.5), X, X_VALID, MAX, MIN, "euler", starts(4))[4]
    assert Network.seen == 64 and found.provenance["details"]["trajectories"] == 64


def test_refusals():
    for change, message in (
        (dict(starts={3: {}}), r"starts\[3\] must hold at least one schedule"),
        (dict(solver="rk5"), "unknown solver"),
        (dict(x_valid=normal(3, 2)), "x_start must have shape"),
    ):
        good = dict(x_train=X, x_valid=X_VALID, solver="euler", starts=starts(3))
        with pytest.raises(ArtRLError, match=message):
            gauss_newton_schedules(MIXTURE, sigma_max=MAX, sigma_min=MIN, **(good | change))
