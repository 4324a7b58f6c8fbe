"""The natural actor-critic: policy, critic, rewards, learning, persistence."""

import json
import math

import numpy as np
import pytest
import torch

from art_rl.denoisers import CountingDenoiser, Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import SOLVERS, nfe, solve
from art_rl.learning import (
    EndpointError,
    HeldCost,
    TableEnvironment,
    budgets,
    endpoint,
    learn_budgets,
    load_budgets,
    run,
)
from art_rl.learning.actors import ShareActor, score
from art_rl.learning.budgets import start_densities
from art_rl.learning.critics import RegressionCritic, credits, critic_features, rewards_to_go
from art_rl.learning.ensemble import LARGEST_ERROR, Ensemble
from art_rl.learning.evaluate import verdict
from art_rl.schedules.hand_made import BASELINES, gaussian, grid_from_density
from art_rl.schedules.schedule import Schedule
from art_rl.schedules.steps import StepCost, optimal_steps
from art_rl.settings.learners import EndpointRun, NaturalSettings

MIXTURE = GaussianMixture(
    [0.2, 0.3, 0.3, 0.2], [[-1.5], [-0.5], [0.6], [1.4]], [0.15, 0.4, 0.2, 0.3]
)
REFERENCE = {"steps": 48, "sigma_min": 0.002}
QUICK = {
    "iterations": 12,
    "draws": 8,
    "points": 16,
    "start_points": 32,
    "trials": 3,
    "reference_steps": 16,
    "checkpoint_every": 5,
}


def states(n, sigma_max=80.0, shape=(1,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return sigma_max * torch.randn(n, *shape, dtype=torch.float64, generator=generator)


def density(s):
    return (s**2 + 1) ** -0.75


def make_actor(K=5, knots=8):
    return ShareActor(density, K, 80.0, 0.002, knots)


def random_coefficients(actor, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(actor.hats.shape[1], dtype=torch.float64, generator=generator)


def quick_train(budgets=(2, 3), denoiser=MIXTURE, settings=None, solver="heun", **options):
    settings = EndpointRun.from_dict(QUICK | (settings or {}))
    labels = options.pop("labels", (None, None))
    reward = EndpointError(
        denoiser,
        states(64, seed=1),
        states(48, seed=2),
        80.0,
        0.002,
        solver,
        labels,
        reference_steps=settings.reference_steps,
    )
    return learn_budgets(reward, list(budgets), settings, "art_rl_endpoint", **options)


# --- actor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [2, 5, 100])
def test_untrained_actor_is_its_base_schedule(K):
    actor = make_actor(K)
    expected = grid_from_density(density, K, 80.0)
    # The lattice has 1024 cells; between its nodes levels are interpolated in log(sigma + sigma_min).
    np.testing.assert_allclose(actor.levels(None).numpy(), expected, rtol=2e-3, atol=1e-9)


def test_mean_policy_cuts_the_learned_density_into_equal_shares():
    actor = make_actor(6)
    coefficients = random_coefficients(actor)
    integral = actor.remaining(coefficients)
    episode = actor.rollout(coefficients, torch.zeros(1, 5, dtype=torch.float64), 0.0)
    shares = np.interp(episode.u[0].numpy(), np.linspace(0, 1, len(integral)), integral.numpy())
    np.testing.assert_allclose(shares / shares[0], 1 - np.arange(6) / 6, atol=1e-12)


@pytest.mark.parametrize("K", [2, 4, 30])
def test_every_sample_is_a_schedule_and_meets_the_budget(K):
    actor = make_actor(K)
    generator = torch.Generator().manual_seed(1)
    normals = torch.randn(64, K - 1, dtype=torch.float64, generator=generator)
    episode = actor.rollout(random_coefficients(actor), normals, 1.0)
    for sigmas in episode.sigmas:
        schedule = Schedule(tuple(sigmas.tolist()))  # validates: decreasing, ends exact
        assert schedule.K == K and schedule.sigma_max == 80.0


def test_gradient_of_the_mean_matches_differences():
    actor = make_actor(5)
    coefficients = random_coefficients(actor)
    u = torch.tensor([0.0, 0.21, 0.5], dtype=torch.float64)
    for k in (0, 2, 3):
        gradient = actor.gradient(u, k, coefficients)
        for j in range(len(coefficients)):
            shift = torch.zeros_like(coefficients)
            shift[j] = 1e-5
            up = actor.mean(u, k, actor.remaining(coefficients + shift))
            down = actor.mean(u, k, actor.remaining(coefficients - shift))
            # The lattice's linear interpolation makes the gradient exact only to its cell size.
            torch.testing.assert_close(gradient[:, j], (up - down) / 2e-5, rtol=0.01, atol=1e-3)


def test_the_levels_tell_the_actions_that_were_sampled():
    actor = make_actor(4)
    noise = 0.3
    generator = torch.Generator().manual_seed(2)
    normals = torch.randn(16, 3, dtype=torch.float64, generator=generator)
    episode = actor.rollout(random_coefficients(actor), normals, noise)
    # Actions recovered from the levels alone, as a stranger would.
    clock = torch.cat([episode.u, torch.ones(16, 1, dtype=torch.float64)], 1)
    share = (clock[:, 1:4] - clock[:, :3]) / (1 - clock[:, :3])
    torch.testing.assert_close(torch.logit(share), episode.actions, rtol=1e-9, atol=1e-9)


def test_score_has_zero_mean_and_the_fisher_matrix_as_covariance():
    actor = make_actor(2, knots=4)
    coefficients = random_coefficients(actor)
    generator = torch.Generator().manual_seed(3)
    normals = torch.randn(200_000, 1, dtype=torch.float64, generator=generator)
    episode = actor.rollout(coefficients, normals, 0.2)
    eta = score(episode, 0.2)[:, 0]
    g = episode.gradients[0, 0]
    fisher = torch.outer(g, g) / 0.2**2
    scale = float(fisher.diagonal().max())
    # 200,000 draws: relative error of a second moment about sqrt(2 / 200000) = 0.003.
    assert float(eta.mean(0).abs().max()) < 5 * math.sqrt(scale / 200_000)
    assert float((eta.T @ eta / len(eta) - fisher).abs().max()) < 0.015 * scale


# --- critic ------------------------------------------------------------------------------------


def test_credits_telescope_and_interpolate_between_td_and_monte_carlo():
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    returns = torch.randn(5, dtype=torch.float64, generator=generator)
    # A reward that is paid at the end, and one that runs: the same sums.
    at_end = torch.cat([torch.zeros(5, 2, dtype=torch.float64), returns[:, None]], 1)
    running = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(rewards_to_go(at_end), returns[:, None].expand(5, 3))
    for rewards in (at_end, running):
        to_go = rewards_to_go(rewards)
        torch.testing.assert_close(to_go[:, 0], rewards.sum(1))
        torch.testing.assert_close(credits(values, rewards, 1.0), to_go - values)
        one_step = credits(values, rewards, 0.0)
        torch.testing.assert_close(one_step.sum(1), to_go[:, 0] - values[:, 0])
        expected = one_step[:, 1] + 0.5 * one_step[:, 2]
        torch.testing.assert_close(credits(values, rewards, 0.5)[:, 1], expected)


def test_critic_learns_a_quadratic_value_and_starts_at_zero():
    generator = torch.Generator().manual_seed(5)
    critic = RegressionCritic(2, memory=0.5, ridge=1e-9)
    for _ in range(3):
        clock = torch.rand(400, 2, dtype=torch.float64, generator=generator) * 0.5
        clock[:, 0] = 0
        phi = critic_features(clock)
        if critic.weight == 0:
            assert not critic.values(phi).any()
        z = phi[:, 1, 1]
        returns = 0.3 + z - 0.7 * z**2
        critic.fit(phi, returns[:, None].expand(400, 2))
    torch.testing.assert_close(critic.values(phi)[:, 1], returns, rtol=1e-5, atol=1e-5)
    # Before the first decision all draws are alike: the value is the mean return.
    assert abs(float(critic.values(phi)[0, 0]) - float(returns.mean())) < 0.05


# --- environment -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_environment_agrees_with_the_solvers_and_counts_calls(solver):
    x = states(10)
    counting = CountingDenoiser(MIXTURE)
    environment = Ensemble(counting, x, 80.0, solver, None, 1000, REFERENCE)
    grids = [BASELINES[name](4, 80.0, 0.002, 1.0) for name in ("gaussian", "edm", "arctan")]
    index = torch.tensor([7, 2, 3, 5])
    spent = environment.calls
    errors, products = environment.products(torch.tensor(np.stack(grids)), index)
    assert environment.calls - spent == 3 * 4 * (nfe(solver, 4) - 1)  # the first call is known
    end = reference_solution(MIXTURE, x, 80.0, check=0, **REFERENCE).end[index]
    vectors = [solve(MIXTURE, x[index], Schedule(tuple(grid)), solver) - end for grid in grids]
    expected = [[(a * b).mean() for a in vectors] for b in vectors]
    torch.testing.assert_close(products, torch.tensor(expected), rtol=1e-9, atol=1e-18)
    torch.testing.assert_close(errors, products.diagonal(), rtol=1e-12, atol=0)


def test_batching_does_not_change_numbers_and_network_rows_are_bounded():
    rows = []

    class Watching(CountingDenoiser):
        def __call__(self, x, sigma, class_labels=None):
            rows.append(len(x))
            assert sigma.ndim == 0 or sigma.shape == (len(x),)
            return super().__call__(x, sigma, class_labels)

    grids = torch.tensor(np.stack([gaussian(4, 80.0, 0.002, c) for c in (0.5, 1.0, 2.0)]))
    index = torch.arange(6)
    outcomes = []
    for limit in (1000, 7):
        environment = Ensemble(Watching(MIXTURE), states(8), 80.0, "heun", None, limit, REFERENCE)
        outcomes.append(environment.products(grids, index))
    assert max(rows) == 18 and max(rows[-6:]) <= 7
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    # Many states, errors alone: split as well.
    narrow = Ensemble(Watching(MIXTURE), states(8), 80.0, "heun", None, 4, REFERENCE)
    rows.clear()
    torch.testing.assert_close(narrow.errors(grids, index), outcomes[0][0])
    assert max(rows) <= 4


def test_an_exploding_draw_keeps_a_finite_reward():
    class Explosive(GaussianMixture):
        def __call__(self, x, sigma, class_labels=None):
            value = super().__call__(x, sigma, class_labels)
            bad = ((sigma < 0.5) & (sigma > 0.1)).reshape(-1, 1)
            return torch.where(bad, value * float("inf"), value)

    model = Explosive([1.0], [[0.0]], [1.0])
    environment = Ensemble(model, states(4), 80.0, "heun", None, 100, REFERENCE | {"steps": 2})
    sigmas = torch.tensor([[80.0, 0.3, 0.0], [80.0, 1.0, 0.0]], dtype=torch.float64)
    errors, products = environment.products(sigmas, torch.arange(4))
    assert float(errors[0]) == LARGEST_ERROR
    assert torch.isfinite(errors).all() and float(errors[1]) < 1e3
    assert products[0].tolist() == [0.0, 0.0]  # the critic leaves its pair out


# --- learning ----------------------------------------------------------------------------------


def test_one_decision_finds_the_optimum_of_a_gaussian(monkeypatch):
    # Gaussian data, Euler, K = 2: error(s) is an explicit function of the one interior level.
    c, T = 0.5, 80.0
    target = Gaussian(c)

    def factor(s):
        first = 1 + (s - T) * T / (c**2 + T**2)
        return first * (1 - s * s / (c**2 + s**2)) - c / math.sqrt(c**2 + T**2)

    grid = np.geomspace(0.05, 20, 200_001)
    best = np.abs([factor(s) for s in grid]).min() * T
    # The arctan density is that optimum: it must not be among the starts.
    start = {"gaussian": density}
    monkeypatch.setattr("art_rl.learning.budgets.start_densities", lambda c, low: start)
    settings = EndpointRun(iterations=12, draws=16, points=64, start_points=64, trials=1)
    reward = EndpointError(target, states(64), states(64, seed=1), T, 0.002, "euler")
    result = learn_budgets(reward, [2], settings)
    report = result.report["budgets"]["2"]
    learned = abs(factor(result.schedule(2).sigmas[1])) * T
    assert report["improved"] and report["merit_learned"] < report["merit_start"]
    # The reference is good to 1e-5, the start 0.05 off.
    assert learned < best + 1e-4


@pytest.mark.parametrize("K", [6, 30])  # fewer and more decisions than the 8 coefficients
def test_as_many_pairs_as_decisions_or_coefficients_know_the_gradient(monkeypatch, K):
    monkeypatch.setattr(endpoint.EndpointLearner, "NOISE", (1e-3, 1e-3))
    actor = make_actor(K, 8)
    reward = EndpointError(MIXTURE, states(64), states(8, seed=1), 80.0, 0.002, "heun")
    learner = endpoint.EndpointLearner(actor, reward, 1, 2 * min(K - 1, 8), 64, 0, 0, 64)
    learner.coefficients = random_coefficients(actor)
    steps = 1e-4 * torch.eye(8, dtype=torch.float64)
    moved = [actor.levels(learner.coefficients + sign * step) for step in steps for sign in (1, -1)]
    errors = reward.compare(torch.stack(moved), torch.arange(64)).log().reshape(8, 2)
    slope = (errors[:, 0] - errors[:, 1]) / (2 * 2e-4)  # of ln RMSE
    # measured: 2e-4 and 6e-5; noise on all 29 decisions in 8 pairs told a gradient 83 % too small
    assert learner.step()["gradient_norm"] == pytest.approx(float(slope.norm()), rel=1e-3)


def test_with_more_decisions_than_coefficients_the_smaller_budgets_density_is_a_candidate(
    monkeypatch,
):
    measured = budgets.BudgetRun._merits

    def worst_first(job, levels):
        merits = measured(job, levels)
        return merits if len(levels[0]) < 20 else [-merit for merit in merits]

    monkeypatch.setattr(budgets.BudgetRun, "_merits", worst_first)
    monkeypatch.setattr(endpoint, "DAMPINGS", (1e300,))  # nothing moves
    result = quick_train([3, 8, 30], settings={"trials": 1})
    few, many = (result.report["budgets"][K] for K in ("8", "30"))
    assert "learned_3" not in few["choice_merits"]  # 7 decisions, 20 coefficients
    assert many["chosen"] == many["start"] == "learned_8" and many["improved"]
    assert many["merit_learned"] < 0.7 * many["merit_start"]
    again = grid_from_density(start_densities(MIXTURE.sigma_data, 0.002)[few["start"]], 30, 80.0)
    assert result.schedule(30).sigmas == pytest.approx(again, rel=1e-3)


@pytest.mark.parametrize(
    ("solver", "K", "share"),
    # measured for the multistep solvers: 0.25, 0.33, 0.28 of the best baseline, Gauss-Newton the same
    [
        ("heun", 5, 1.0),
        ("rk4", 3, 1.0),
        ("ipndm3", 5, 0.3),
        ("dpmpp2m", 5, 0.4),
        ("unipc2", 6, 0.35),
    ],
)
def test_learned_schedule_beats_every_baseline_on_fresh_noise(solver, K, share):
    settings = EndpointRun(iterations=16, points=256, trials=4)
    reward = EndpointError(MIXTURE, states(1024, seed=1), states(512, seed=2), 80.0, 0.002, solver)
    result = learn_budgets(reward, [K], settings)
    x = states(2000, seed=3)
    end = reference_solution(MIXTURE, x, 80.0, check=0).end

    def rmse(sigmas):
        return float(
            (solve(MIXTURE, x, Schedule(tuple(sigmas)), solver) - end).pow(2).mean().sqrt()
        )

    learned = rmse(result.schedule(K).sigmas)
    others = {n: rmse(f(K, 80.0, 0.002, MIXTURE.sigma_data)) for n, f in BASELINES.items()}
    assert learned < share * min(others.values())


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [([0.25, 0.375, 0.5], [3, 3, 4, 12]), ([0.5, 1.0], [6, 6, 12, 12]), ([0.25], [3, 3, 3, 12])],
)
def test_the_better_half_of_the_trials_goes_on_after_each_round(tmp_path, rounds, expected):
    path = tmp_path / "m.jsonl"
    settings = {"trials": 4, "rounds": rounds}
    report = quick_train([3], settings=settings, metrics_path=path).report["budgets"]["3"]
    trials = [json.loads(line)["trial"] for line in path.read_text().splitlines()]
    assert sorted(map(trials.count, range(4))) == expected
    # Every comparison is on the same states: who is left has the least of those it was compared with.
    assert all(value > 0 for value in report["trial_merits"])
    last = [trials.count(trial) for trial in range(4)].index(12)
    if expected[2] < 12:
        assert report["start"] == report["trials"][last]


def test_start_is_kept_and_said_so_when_learning_does_not_help(monkeypatch):
    # Every search says that the farthest policy is the best, and it never is.
    monkeypatch.setattr(endpoint, "DAMPINGS", (-10.0, -1.0))
    lying = lambda self, levels, index: 1e-9 / (1.0 + torch.arange(len(levels)).double())  # noqa: E731
    monkeypatch.setattr(EndpointError, "compare", lying)
    result = quick_train([2], settings={"iterations": 1, "trials": 1})
    report = result.report["budgets"]["2"]
    assert report["verdict"] == "not improved over its start" and report["chosen"] == "start"
    assert report["merit_learned"] == report["merit_start"]


def test_budget_of_network_evaluations_is_kept_and_counted():
    counted = []

    class Rows(CountingDenoiser):
        def __call__(self, x, sigma, class_labels=None):
            counted.append(len(x))
            return super().__call__(x, sigma, class_labels)

    result = quick_train([3, 8], Rows(MIXTURE), {"evaluations": 20_000, "iterations": 60})
    assert sum(counted) == result.report["evaluations"]
    small, large = (result.report["budgets"][str(K)] for K in (3, 8))
    assert large["iterations"] < small["iterations"] <= 60
    assert large["points"] == 16 or large["iterations"] * large["points"] < 60 * 16


def test_one_step_needs_no_learning():
    result = quick_train([1])
    assert result.schedule(1).sigmas == (80.0, 0.0)
    assert result.report["budgets"]["1"]["improved"] is False


def test_given_densities_and_transfer_are_starts():
    result = quick_train([2, 3], densities={"mine": lambda s: 1 / (s**2 + 0.3)})
    own = {"gaussian", "arctan", "cosine", "edm", "dpm", "mine"}
    assert set(result.report["budgets"]["2"]["start_merits"]) == own
    assert set(result.report["budgets"]["3"]["start_merits"]) == own | {"learned_2"}


def test_class_labels_reach_the_model():
    seen = []

    class Labelled(CountingDenoiser):
        def __call__(self, x, sigma, class_labels=None):
            assert class_labels.shape == (len(x), 2)
            seen.append(float(class_labels[:, 0].mean()))
            return super().__call__(x, sigma, None)

    labels = [torch.eye(2, dtype=torch.float64)[torch.arange(n) % 2] for n in (64, 48)]
    quick_train([3], Labelled(MIXTURE), labels=tuple(labels))
    assert 0.3 < np.mean(seen) < 0.7


# --- persistence -------------------------------------------------------------------------------


def strip(value):
    """A report without its times."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k != "seconds"}
    return value


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [3, 8, 17, 25])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, after):
    whole = quick_train(metrics_path=tmp_path / "whole.jsonl")
    calls = []
    original = run.MetricsLog.write

    def write(self, values):
        if len(calls) == after:
            raise Killed
        calls.append(0)
        original(self, values)

    paths = {"metrics_path": tmp_path / "m.jsonl", "state_path": tmp_path / "c.safetensors"}
    with monkeypatch.context() as patch:
        patch.setattr(run.MetricsLog, "write", write)
        with pytest.raises(Killed):
            quick_train(**paths)
    resumed = quick_train(**paths)
    for K in (2, 3):
        assert resumed.schedule(K).sigmas == whole.schedule(K).sigmas
    assert strip(resumed.report) == strip(whole.report)
    lines = [
        [strip(json.loads(line)) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("m.jsonl", "whole.jsonl")
    ]
    assert lines[0] == lines[1]
    assert all(math.isfinite(line["ratio"]) for line in lines[0])
    again = quick_train(**paths)  # a finished run is only read
    assert again.schedule(3).sigmas == whole.schedule(3).sigmas


def test_a_checkpoint_of_other_settings_is_not_used_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    quick_train([2], settings={"seed": 5}, state_path=path)
    fresh = quick_train([2])
    assert quick_train([2], state_path=path).schedule(2).sigmas == fresh.schedule(2).sigmas
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtRLError, match=r"c\.safetensors"):
        quick_train([2], state_path=path)


def test_seeds_decide_the_numbers():
    a, b = quick_train([3]), quick_train([3])
    assert a.schedule(3).sigmas == b.schedule(3).sigmas
    c = quick_train([3], settings={"seed": 1})
    assert c.schedule(3).sigmas != a.schedule(3).sigmas


def test_result_file_round_trip_and_damage(tmp_path):
    result = quick_train()
    result.save(tmp_path / "r.safetensors")
    loaded = load_budgets(tmp_path / "r")
    for K in (2, 3):
        assert loaded.schedule(K) == result.schedule(K)
        assert dict(loaded.schedule(K).provenance) == dict(result.schedule(K).provenance)
    provenance = loaded.schedule(3).provenance
    assert provenance["method"] == "art_rl_endpoint" and provenance["solver"] == "heun"
    assert provenance["model_digest"] == MIXTURE.digest and provenance["budget"] == 3
    assert provenance["details"]["evaluations"] > 0
    loaded.schedule(3).save(tmp_path / "s.json")
    assert Schedule.load(tmp_path / "s.json") == result.schedule(3)
    with pytest.raises(ArtRLError, match="K = 7"):
        loaded.schedule(7)
    (tmp_path / "r.json").write_text((tmp_path / "r.json").read_text().replace("heun", "rk4"))
    head = json.loads((tmp_path / "r.json").read_text())
    head["tensors_sha256"] = "0" * 64
    del head["content_sha256"]
    (tmp_path / "r.json").write_text(json.dumps(head))
    with pytest.raises(ArtRLError, match="does not belong"):
        load_budgets(tmp_path / "r")
    with pytest.raises(ArtRLError, match="no such file"):
        load_budgets(tmp_path / "absent")


# --- ART's cost of K steps ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return TableEnvironment.from_denoiser(MIXTURE, states(128, seed=4), 80.0, 0.002)


def test_held_cost_is_the_k_step_objective(table):
    reward = HeldCost(table)
    q = table.q[: table.learning]
    cells = ((q[:, 1:] + q[:, :-1]) / 2).mean(0)
    cost = StepCost.from_cells(table.lattice.nodes.numpy(), cells.numpy())
    grids = [BASELINES[name](4, 80.0, 0.002, 1.0) for name in ("gaussian", "edm", "arctan")]
    levels = torch.tensor(np.stack(grids))
    outcome = reward.run(levels, torch.arange(table.learning), levels[0], levels[1])
    expected = [cost(grid) for grid in grids]
    np.testing.assert_allclose(outcome.merits, expected, rtol=1e-12)
    assert outcome.policy == pytest.approx(expected[0]) and outcome.start == pytest.approx(
        expected[1]
    )
    np.testing.assert_allclose(reward.merits(levels, None), expected, rtol=1e-12)
    # A running reward: the K - 1 decisions are paid the whole cost, in units of the mean draw's.
    np.testing.assert_allclose(outcome.rewards.sum(1), -np.array(expected) / np.mean(expected))
    assert outcome.rewards.shape == (3, 3) and reward.evaluations == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_learning_reaches_the_k_step_optimum(table, seed):
    settings = NaturalSettings(seed=seed, points=64)
    result = learn_budgets(HeldCost(table), [2, 3, 5, 10], settings)
    for report in result.report["budgets"].values():
        assert report["verdict"] == "converged" and report["evaluations"] == 0
        assert report["ratio"] < 1.003  # measured: at most 1.0007 on larger tables
    assert result.solver == "any" and result.schedule(3).provenance["method"] == "art_rl"


def test_report_is_held_to_the_optimum_of_the_held_out_trajectories(table):
    result = learn_budgets(HeldCost(table), [5], NaturalSettings(iterations=1, trials=1))
    report = result.report["budgets"]["5"]
    q = table.q[table.learning :].mean(0)
    cost = StepCost.from_cells(table.lattice.nodes.numpy(), ((q[1:] + q[:-1]) / 2).numpy())
    assert report["optimum"] == pytest.approx(cost(optimal_steps(cost, [5])[5]), rel=1e-12)
    assert report["objective"] == pytest.approx(cost(result.schedule(5)), rel=1e-12)
    assert report["ratio"] > 1.005 and report["verdict"] == "not converged"


def test_a_state_whose_metrics_were_lost_is_not_continued(tmp_path):
    paths = {"metrics_path": tmp_path / "m.jsonl", "state_path": tmp_path / "s.safetensors"}
    quick_train([2], **paths)
    whole = (tmp_path / "m.jsonl").read_text().splitlines()
    (tmp_path / "m.jsonl").unlink()
    quick_train([2], **paths)
    again = (tmp_path / "m.jsonl").read_text().splitlines()
    assert [strip(json.loads(a)) for a in again] == [strip(json.loads(b)) for b in whole]


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"iteration": 3}, "unknown key 'iteration'"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"draws": 5}, "draws must be a multiple of 2"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"rounds": []}, "rounds"),
        ({"rounds": [0.5, 0.25]}, r"rounds must increase, got \[0.5, 0.25\]"),
        ({"rounds": [0.5, 1.5]}, "rounds"),
        ({"seed": True}, "seed"),
        # Its cost calls no network.
        ({"batch_rows": 128}, "unknown key 'batch_rows'"),
        ({"evaluations": 1000}, "unknown key 'evaluations'"),
        ({"reference_steps": 32}, "unknown key 'reference_steps'"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ArtRLError, match=words):
        NaturalSettings.from_dict(settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_rows": 100}, "batch_rows must be at least points"),
        ({"evaluations": 0}, "evaluations"),
        ({"reference_steps": 1}, "reference_steps must be at least 2"),
    ],
)
def test_bad_settings_of_the_endpoint_error(settings, words):
    with pytest.raises(ArtRLError, match=words):
        EndpointRun.from_dict(settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solver": "rk5"}, "rk5"),
        ({"x_train": states(8, shape=(2,))}, "x_train"),
        ({"x_valid": states(8) * float("nan")}, "x_valid must be finite"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_min": 90.0}, "sigma_min"),
        ({"labels": (states(8), states(3))}, "must have 8 rows like x_valid, got 3"),
    ],
)
def test_bad_arguments(change, words):
    arguments = {
        "denoiser": MIXTURE,
        "x_train": states(8),
        "x_valid": states(8),
        "sigma_max": 80.0,
        "sigma_min": 0.002,
        "solver": "euler",
    }
    with pytest.raises(ArtRLError, match=words):
        EndpointError(**arguments | change)


@pytest.mark.parametrize(
    ("budgets", "words"), [([], "budgets"), ([0], "at least 1"), ("25", "budgets")]
)
def test_bad_budgets(table, budgets, words):
    with pytest.raises(ArtRLError, match=words):
        learn_budgets(HeldCost(table), budgets)


def test_verdicts_know_the_reference():
    """A learner called .0127 "improved" on a reference that is .014 off itself."""

    def judged(start, learned, error=None, improved=True):
        report = {"improved": improved, "merit_start": start, "merit_learned": learned}
        return verdict(report | ({} if error is None else {"reference_error": error}))

    assert judged(0.0140, 0.0127, 0.014) == "within the reference's error"
    assert judged(0.0300, 0.0290, 0.014) == "within the reference's error"
    assert judged(0.0300, 0.0290, 1e-5) == "improved"
    assert judged(0.5, 0.1, 0.014) == "improved"
    assert judged(3.0, 2.9) == "improved"  # ART's cost needs no reference
    assert judged(0.5, 0.5, 1e-5, improved=False) == "not improved over its start"
