"""The actor of two lists, and what learning both brings."""

import pytest
import torch

from art_rl.denoisers.base import Labelled
from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.flow.reference import reference_solution
from art_rl.flow.solvers import run_levels, solve
from art_rl.flow.solvers.decoupled import Decoupled
from art_rl.learning import EndpointError, HeldCost, learn_budgets
from art_rl.learning.actors import ShareActor
from art_rl.learning.budgets import BudgetRun, start_densities
from art_rl.learning.decoupled import DecoupledActor
from art_rl.learning.result import load_budgets
from art_rl.schedules.schedule import Schedule
from art_rl.settings.learners import EndpointRun, NaturalSettings

SETTINGS = EndpointRun(iterations=16, trials=2, points=64, start_points=64)


def mixture():
    return GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.4])


def noise(count, seed):
    return 80 * torch.randn(count, 1, generator=torch.Generator().manual_seed(seed)).double()


def reward(solver="euler"):
    return EndpointError(mixture(), noise(256, 0), noise(128, 1), 80.0, 0.002, solver)


def actors(K):
    density = start_densities(0.5, 0.002)["edm"]
    return (kind(density, K, 80.0, 0.002) for kind in (ShareActor, DecoupledActor))


def test_zeros_are_the_list_alone_and_moves_are_shares_of_a_step():
    plain, both = actors(6)
    levels, told = both.levels(None)
    torch.testing.assert_close(levels, plain.levels(None), rtol=0, atol=0)
    torch.testing.assert_close(told, levels, rtol=0, atol=0)
    c = both.start()
    c[-5:] = 1.0
    levels, told = both.levels(c)
    s = plain.levels(None)
    half = torch.log(s[:-2] / torch.cat([s[2:-1], s[-2:-1] ** 2 / s[-3]])) / 2
    torch.testing.assert_close((told / levels)[1:-1].log(), half, rtol=1e-12, atol=0)
    assert told[0] == 80.0 and told[-1] == 0.0


def test_gradients_of_all_decisions_against_differences():
    _, both = actors(5)
    generator = torch.Generator().manual_seed(0)
    c = 0.3 * torch.randn(len(both.start()), generator=generator, dtype=torch.float64)
    normals = torch.randn(3, both.decisions, generator=generator, dtype=torch.float64)
    # At the mean policy the first decision's state is fixed; the others move with the coefficients.
    found = both.rollout(c, normals, 0.2)
    assert found.sigmas.shape == (3, 2, 6) and found.gradients.shape == (3, 8, len(c))
    for j in range(len(c)):
        step = torch.zeros_like(c)
        step[j] = 1e-6
        up, down = (both.rollout(c + sign * step, normals, 0.2) for sign in (1, -1))
        difference = (up.means - down.means) / 2e-6
        for k in (0, *range(4, 8)):  # states that no earlier decision has moved
            torch.testing.assert_close(
                difference[:, k], found.gradients[:, k, j], atol=1e-7, rtol=0
            )


@pytest.mark.parametrize("solver", ["euler", "heun", "ipndm3", "dpmpp2m"])
def test_pairs_of_lists_run_at_once_as_one_by_one(solver):
    _, both = actors(4)
    normals = torch.randn(3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = both.rollout(both.start(), normals, 0.3).sigmas
    model, index = reward(solver), torch.arange(32)
    errors, products = model.products(pairs, index)
    x, end = noise(256, 0)[:32], model.train.end[:32]
    for n, (levels, told) in enumerate(pairs):
        facts = {"network_levels": told.tolist()}
        schedule = Schedule(tuple(levels.tolist()), {"details": facts})
        own = (solve(mixture(), x, schedule, solver) - end).square().mean()
        assert float(errors[n]) == pytest.approx(float(own), rel=1e-9)
        assert float(products[n, n]) == pytest.approx(float(own), rel=1e-9)
    assert float(model.compare(pairs, index)[0]) == pytest.approx(float(errors[0]), rel=1e-12)
    asked = Decoupled(Labelled(mixture(), None), *pairs.unbind(1), solver)
    *_, ends = run_levels(asked, x.repeat(3, 1), pairs[:, 0], solver)
    found = (ends.reshape(3, 32) - end.T).square().mean(1)
    torch.testing.assert_close(found, errors, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("solver", "factor"), [("euler", 0.5), ("heun", 0.5), ("ipndm3", 0.95)])
def test_two_lists_leave_less_error_than_one(solver, factor, tmp_path):
    """Measured: 0.37, 0.25 and 0.89 times the error of the list alone, on fresh states."""
    found = [
        learn_budgets(reward(solver), [1, 5], SETTINGS, "art_rl_decoupled", decoupled=two)
        for two in (False, True)
    ]
    x = noise(512, 9)
    end = reference_solution(mixture(), x, 80.0, steps=128, sigma_min=0.002, check=0).end
    alone, both = (
        float((solve(mixture(), x, result.schedule(5), solver) - end).square().mean().sqrt())
        for result in found
    )
    assert both < factor * alone
    one, two = (result.schedule(5) for result in found)
    assert one.network_levels is None and len(two.network_levels) == 6
    # Both parts are paid for.
    spent = [result.report["budgets"]["5"]["evaluations"] for result in found]
    assert spent[1] > 2 * spent[0]
    assert found[1].report["evaluations"] > sum(spent[1:])
    assert found[1].schedule(1).sigmas == (80.0, 0.0)
    found[1].save(tmp_path / "result")
    assert load_budgets(tmp_path / "result").schedule(5) == two


@pytest.mark.parametrize("after", [10, 25])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, after):
    def learn(state):
        sizes = SETTINGS.replace(iterations=12, points=32)
        return learn_budgets(
            reward(), [3], sizes, state_path=state, decoupled=True, metrics_path=metrics
        )

    metrics = tmp_path / "whole.jsonl"
    whole, steps, step = learn(tmp_path / "whole.safetensors"), 0, BudgetRun.step
    lines = metrics.read_text().count("\n")

    def killed(job):
        nonlocal steps
        steps += 1
        if steps > after:
            raise KeyboardInterrupt
        return step(job)

    metrics = tmp_path / "cut.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(BudgetRun, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "cut.safetensors")
    resumed = learn(tmp_path / "cut.safetensors")
    assert resumed.report == whole.report
    assert torch.equal(resumed.levels[3], whole.levels[3])
    assert (tmp_path / "cut.jsonl").read_text().count("\n") == lines


def test_not_with_rk4_and_not_from_a_table():
    with pytest.raises(ArtRLError, match="evaluates at the listed levels only, got 'rk4'"):
        learn_budgets(reward("rk4"), [3], SETTINGS, decoupled=True)
    with pytest.raises(ArtRLError, match=r"measured endpoint error .* got HeldCost"):
        learn_budgets(HeldCost.__new__(HeldCost), [3], NaturalSettings(), decoupled=True)
