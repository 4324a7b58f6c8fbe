"""Whole runs: convergence to the closed form, resume, results, distillation, settings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from art_rl.denoisers import Gaussian
from art_rl.errors import ArtRLError
from art_rl.learning import (
    LearnerConfig,
    TableEnvironment,
    distill,
    load_result,
    train,
)
from art_rl.learning.clock.mean_policy import levels_from_speed
from art_rl.learning.clock.training import ClockRun
from art_rl.learning.evaluate import (
    clock_objective,
    closed_form_objective,
    held_out_q,
    per_trajectory_bound,
    sqrt_integral,
)
from art_rl.learning.run import run
from art_rl.schedules.clock import read_clock
from art_rl.schedules.hand_made import gaussian

HIGH, LOW, STD = 10.0, 0.002, 0.5
SMALL = {"iterations": 6, "batch": 16, "hidden": 8, "clock_steps": 48, "checkpoint_every": 2}


def draw(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return HIGH * torch.randn(count, 1, dtype=torch.float64, generator=generator)


@pytest.fixture(scope="module")
def table():
    return TableEnvironment.from_denoiser(Gaussian(STD), draw(64), HIGH, LOW, cells=128, model="g")


@pytest.fixture(scope="module")
def converged(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = LearnerConfig(iterations=80, batch=128)
    return train(table, config, metrics_path=folder / "metrics.jsonl"), folder


def closed_form_levels(table, K):
    """K + 1 levels of the time-only closed form on the held-out trajectories."""
    integral = sqrt_integral(table, held_out_q(table).mean(0))
    shares = integral[-1] * torch.linspace(1, 0, K + 1, dtype=torch.float64)
    return table.lattice.invert(integral, shares).numpy()


def test_references_are_the_gaussians(table):
    # The closed form's levels are the `gaussian` baseline; measured 1.4e-3 on 128 cells.
    levels = closed_form_levels(table, 10)
    exact = gaussian(10, HIGH, LOW, STD)
    np.testing.assert_allclose(levels[:-1], exact[:-1], rtol=5e-3)
    assert clock_objective(table, closed_form_levels(table, 1024)) == pytest.approx(
        closed_form_objective(table), rel=1e-3
    )
    # All trajectories of a Gaussian have the same |Q| up to a factor |x_T|, and (E|Q|) is linear in
    # it, so a clock per trajectory gains nothing.
    assert per_trajectory_bound(table) == pytest.approx(closed_form_objective(table), rel=1e-9)


def test_learning_reaches_the_closed_form(converged, table):
    report = converged[0].report
    assert report["converged"] is True and report["verdict"] == "converged"
    # Measured 1.003 to 1.005 over three seeds; the start (EDM's clock) is at 1.4.
    assert 1.0 - 1e-6 <= report["ratio"] < 1.015
    assert report["psi_end_error"] < 1e-12
    # The learned critic against the exact V(t, psi) = -I^2 / (T - t).
    assert report["critic_error"] < 0.06
    assert report["distillation_cost"] == pytest.approx(0, abs=2e-3)


def test_distilled_schedules_are_near_the_exact_grid(converged):
    for K in (2, 5, 10, 50):
        schedule = distill(converged[0], K)
        exact = gaussian(K, HIGH, LOW, STD)
        assert schedule.K == K and schedule.sigmas[0] == HIGH and schedule.sigmas[-1] == 0.0
        # Levels move by a fraction of a step; a step is at least 4 % of the level here.
        assert np.abs(np.log(schedule.numpy()[:-1] / exact[:-1]))[: K // 2 + 1].max() < 0.15
    assert schedule.provenance["method"] == "art_rl_feedback"
    assert schedule.provenance["details"]["converged"] is True
    band = converged[0].theta_band()
    assert (band["low"] <= band["mean"]).all() and (band["mean"] <= band["high"]).all()
    assert band["t"][0] == 0 and len(band["t"]) == len(converged[0].theta)


def test_metrics_are_complete(converged):
    lines = [json.loads(line) for line in (converged[1] / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(80))
    expected = {
        "iteration",
        "objective",
        "ratio",
        "surrogate",
        "psi_error",
        "psi_error_spread",
        "gamma",
        "lambda",
        "critic_error",
        "td_error",
        "critic_gradient",
        "actor_gradient",
        "evaluations",
        "seconds",
    }
    assert set(lines[0]) == expected
    assert lines[9]["ratio"] > lines[-1]["ratio"]
    docs = Path(__file__).parents[2] / "docs"
    glossary = (docs / "art_rl_metrics.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in glossary for name in expected)
    described = (docs / "art_rl.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in described for name in converged[0].report)


def test_paper_form_nears_the_closed_form(table):
    config = LearnerConfig(form="paper", iterations=60, batch=64, base="gaussian")
    report = train(table, config).report
    # From a start at the optimum of sigma_data = 1/2: checks that the multiplier keeps the budget.
    # Measured 1.001 to 1.02, |psi(T) - T| up to 0.05.
    assert report["ratio"] < 1.06
    assert abs(report["psi_end_error_mean"]) < 0.15


def test_optimal_mean_parametrisation(table):
    config = LearnerConfig(mean="optimal", iterations=25, batch=32, clock_steps=48)
    result = train(table, config)
    assert not any(name.startswith("actor.") for name in result.networks)
    # (18) evaluated at the left end of 512 steps.
    assert result.report["ratio"] < 1.1


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"form": "paper", "state": "full"},
        {"critic": "least_squares", "trace": 1.0},
        {"critic": "network", "trace": 0.0},
        {"mean": "optimal", "form": "paper", "state": "full"},
    ],
)
def test_killed_and_resumed_is_the_same(table, tmp_path, settings):
    config = LearnerConfig.from_dict({**SMALL, **settings})
    whole = train(table, config, metrics_path=tmp_path / "whole.jsonl")
    paths = {
        "metrics_path": tmp_path / "parts.jsonl",
        "state_path": tmp_path / "state.safetensors",
    }
    job = ClockRun(table, config)
    step = job.step

    def killed():
        if job.learner.iteration == 3:  # last state file: 2
            raise KeyboardInterrupt
        return step()

    job.step = killed
    with pytest.raises(KeyboardInterrupt):
        run(job, **paths)
    parts = train(table, config, **paths)
    whole.save(tmp_path / "whole")
    parts.save(tmp_path / "parts")
    assert (tmp_path / "whole.safetensors").read_bytes() == (
        tmp_path / "parts.safetensors"
    ).read_bytes()
    one, two = (dict(run.report, seconds=0) for run in (whole, parts))
    assert one == two
    logs = []
    for name in ("whole.jsonl", "parts.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        logs.append([dict(line, seconds=0) for line in lines])
    assert logs[0] == logs[1] and len(logs[0]) == 6
    assert distill(whole, 7) == distill(parts, 7)


def test_another_seed_is_another_run(table):
    one, two = (train(table, LearnerConfig(seed=s, **SMALL)) for s in (0, 1))
    assert not torch.equal(one.theta, two.theta)


def test_checkpoint_of_other_settings_is_not_used(table, tmp_path):
    path = tmp_path / "state.safetensors"
    train(table, LearnerConfig(seed=1, **SMALL), state_path=path)
    fresh = train(table, LearnerConfig(seed=2, **SMALL), state_path=path)
    alone = train(table, LearnerConfig(seed=2, **SMALL))
    assert torch.equal(fresh.theta, alone.theta)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtRLError, match="damaged"):
        train(table, LearnerConfig(seed=2, **SMALL), state_path=path)


def test_unconverged_run_says_so(table):
    result = train(table, LearnerConfig(**SMALL))
    assert result.report["converged"] is False
    assert result.report["verdict"] == "not converged"
    assert distill(result, 5).provenance["details"]["verdict"] == "not converged"


def test_result_round_trip(table, tmp_path):
    result = train(table, LearnerConfig(**SMALL))
    result.save(tmp_path / "run")
    again = load_result(tmp_path / "run")
    assert again.config == result.config and again.report == result.report
    assert torch.equal(again.theta, result.theta) and distill(again, 9) == distill(result, 9)
    (tmp_path / "run.json").write_text('{"tensors_sha256": "0"}')
    with pytest.raises(ArtRLError, match="does not belong"):
        load_result(tmp_path / "run")
    with pytest.raises(ArtRLError, match="no such file"):
        load_result(tmp_path / "nothing")


def test_settings_and_table_must_fit(table):
    with pytest.raises(ArtRLError, match="propagated"):
        train(table, LearnerConfig(cost="propagated"))


def test_divergence_is_one_clear_line(table):
    config = LearnerConfig(**SMALL, lambda_=1e308, form="paper")
    with pytest.raises(ArtRLError, match="diverged"):
        train(table, config)


def test_clock_from_speeds():
    levels, raised = levels_from_speed(np.array([6.0, 3.0, 1.0]), 5.0)
    np.testing.assert_allclose(levels, [5.0, 2.0, 0.5, 0.0], rtol=1e-14)
    assert not raised and levels[-1] == 0.0
    levels, raised = levels_from_speed(np.array([6.0, -3.0, 1.0]), 5.0)
    assert raised and (np.diff(levels) < 0).all()
    for bad in ([1.0, np.nan], [-1.0, 0.5]):
        with pytest.raises(ArtRLError, match="diverged"):
            levels_from_speed(np.array(bad), 5.0)
    fine = gaussian(60, HIGH, LOW, STD)
    np.testing.assert_allclose(read_clock(fine, 20), fine[::3], rtol=1e-12, atol=1e-13)
    between = read_clock(fine, 50)
    np.testing.assert_allclose(between[:-1], gaussian(50, HIGH, LOW, STD)[:-1], rtol=2e-3)


WRONG = {
    "seed": -1,
    "form": "open",
    "clock_steps": 20,
    "state": "x",
    "cost": "fid",
    "mean": "median",
    "critic": "none",
    "base": "dpm",
    "iterations": 0,
    "batch": 1.5,
    "noise": 0.0,
    "noise_final": -1,
    "lambda_": 0,
    "trace": 2,
    "hidden": 0,
    "evaluate_every": 0,
    "checkpoint_every": "often",
}


def test_every_setting_has_a_wrong_value():
    assert set(WRONG) == set(LearnerConfig.model_fields)
    assert all(field.description for field in LearnerConfig.model_fields.values())


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused(name):
    with pytest.raises(ArtRLError) as refusal:
        LearnerConfig.from_dict({name: WRONG[name]})
    message = str(refusal.value)
    assert message.startswith(name) and repr(WRONG[name]) in message and "\n" not in message


def test_settings_that_contradict():
    with pytest.raises(ArtRLError, match="unknown key 'sead'; did you mean 'seed'"):
        LearnerConfig.from_dict({"sead": 1})
    with pytest.raises(ArtRLError, match="unknown key 'mode'"):
        LearnerConfig.from_dict({"mode": "per_budget"})
    with pytest.raises(ArtRLError, match="optimal"):
        LearnerConfig(mean="optimal", critic="least_squares")


@pytest.mark.parametrize("kept", [None, 1], ids=["metrics gone", "metrics cut"])
def test_a_checkpoint_whose_metrics_are_shorter_is_learned_anew(table, tmp_path, kept):
    # Before: the run went on from the checkpoint and counted as complete with an empty metrics file.
    config, metrics = LearnerConfig(**SMALL), tmp_path / "metrics.jsonl"
    paths = {"metrics_path": metrics, "state_path": tmp_path / "state.safetensors"}
    whole = train(table, config, **paths)
    lines = metrics.read_text().splitlines(keepends=True)
    if kept is None:
        metrics.unlink()
    else:
        metrics.write_text("".join(lines[:kept]))
    again = train(table, config, **paths)
    assert torch.equal(again.theta, whole.theta)
    assert len(metrics.read_text().splitlines()) == len(lines) == config.iterations
