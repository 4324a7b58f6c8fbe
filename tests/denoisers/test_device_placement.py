"""Everything a network's rules do keeps its tensors on the network's device (see pretend_device)."""

import numpy as np
import pytest
import torch
from pretend_device import DEVICE, OnDevice, off, on, pretend_device

from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.flow.measure_errors import measure_error_moments
from art_rl.flow.measure_profile import measure_profile
from art_rl.flow.solvers import SOLVERS, run_levels
from art_rl.learning import (
    EndpointError,
    LearnerConfig,
    TableEnvironment,
    learn_budgets,
    learn_paper,
    train,
)
from art_rl.learning.trust import trusted_table
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import frechet_between
from art_rl.sampling.cells import measure_seeds, reference_shard, values_of
from art_rl.sampling.experiment import Experiment
from art_rl.sampling.measures import EndpointRMSE, FeatureMoments
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.settings.learners import EndpointRun, PaperSettings

SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
LABELS = 3


class NetworkOnDevice:
    """A small U-Net that accepts states and labels on the device only."""

    def __init__(self, label_dim):
        torch.manual_seed(0)
        config = UNetConfig((1, 8, 8), channels=(8, 16), embedding=8, label_dim=label_dim)
        self.network = UNetDenoiser(config, 0.7).eval().requires_grad_(False)
        for parameter in self.network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        self.shape, self.sigma_data, self.label_dim = (1, 8, 8), 0.7, label_dim
        self.digest = self.network.digest

    def __call__(self, x, sigma, class_labels=None):
        assert isinstance(x, OnDevice), "a CPU state given to the network"
        if self.label_dim:
            assert isinstance(class_labels, OnDevice), "CPU labels given to the network"
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        labels = None if class_labels is None else off(class_labels)
        return on(self.network(off(x).float(), off(sigma), labels))


@pytest.fixture
def experiment():
    return Experiment("m", NetworkOnDevice(LABELS), SIGMA_MIN, SIGMA_MAX, "noise", DEVICE)


def states(experiment, n):
    return experiment.draw(n, 0), experiment.labels(n, 0)


def test_the_pretend_device_finds_a_mixture():
    with pretend_device():
        x = torch.ones(3, device=DEVICE)
        assert float((x * 2).sum()) == 6
        with pytest.raises(RuntimeError, match="on the device and on the CPU"):
            x + torch.ones(3)


def test_profile_and_error_moments(experiment):
    with pretend_device():
        x, labels = states(experiment, 4)
        range_ = SIGMA_MAX, SIGMA_MIN
        profile = measure_profile(
            experiment.denoiser,
            x,
            *range_,
            levels=10,
            sensitivity_levels=8,
            class_labels=labels,
            progress=False,
        )
        assert profile.table.shape == (4, 10) and profile.mean[1].min() > 0
        for solver in ("euler", "rk4"):
            moments = measure_error_moments(
                experiment.denoiser,
                x,
                *range_,
                solver,
                nodes=4,
                class_labels=labels,
                progress=False,
            )
            assert np.isfinite(moments.moments).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(experiment, solver):
    with pretend_device():
        x, labels = states(experiment, 4)
        levels = torch.tensor([[80.0, 9.0, 2.0, 0.5, 0.1, 0.0]] * 2, dtype=torch.float64)
        for given in (levels, levels[0]):
            *_, end = run_levels(experiment.denoiser, x, on(given), solver, labels)
            assert torch.isfinite(off(end)).all()


def test_table_of_trajectories(experiment):
    with pretend_device():
        x, labels = states(experiment, 8)
        table = trusted_table(
            TableEnvironment.from_denoiser(
                experiment.denoiser, x, SIGMA_MAX, SIGMA_MIN, cells=12, class_labels=labels
            )
        )
        # Learning reads the table alone, on the CPU.
        config = LearnerConfig(state="full", iterations=2, batch=4, evaluate_every=1)
        assert len(train(table, config).levels) > 2
        settings = PaperSettings(iterations=2, batch=8)
        assert learn_paper(table, [3], settings).schedule(3).K == 3


def test_endpoint_reward(experiment, tmp_path):
    settings = EndpointRun(iterations=1, draws=4, points=4, start_points=4, batch_rows=16)
    with pretend_device():
        x, labels = states(experiment, 12)
        reward = EndpointError(
            experiment.denoiser,
            x[:6],
            x[6:],
            SIGMA_MAX,
            SIGMA_MIN,
            "heun",
            labels=(labels[:6], labels[6:]),
            batch_rows=16,
            reference_steps=6,
        )
        result = learn_budgets(reward, [3], settings, state_path=tmp_path / "s.safetensors")
    assert result.schedule(3).K == 3


def test_samples_of_a_shard(tmp_path):
    denoiser = NetworkOnDevice(0)
    features = Features(
        "test", 64, "0" * 64, lambda x: on(off(x).flatten(1).float()), torch.device(DEVICE)
    )
    experiment = Experiment("m", denoiser, SIGMA_MIN, SIGMA_MAX, "noise", DEVICE)
    with pretend_device():
        _, ends = reference_shard(experiment, range(7), 8, [], 4)
        np.savez(tmp_path / "r.npz", seeds=np.arange(7), images=ends)
        target = features.moments(torch.zeros(5, 1, 8, 8))
        measures = [
            EndpointRMSE([tmp_path / "r.npz"]),
            FeatureMoments(features, lambda moments: frechet_between(moments, target), "test"),
        ]
        schedule = baseline_schedule("edm", 3, SIGMA_MAX, SIGMA_MIN)
        part = measure_seeds(experiment, schedule, "heun", range(7), measures, 4, preview=2)
    assert all(np.isfinite(value) for value in values_of(part, measures).values())
