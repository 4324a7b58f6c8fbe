"""What edm_throughput.py measures of learning: seconds per iteration of ART-RL in the paper's form.

An iteration is what `train_art_rl` of config/paper.yaml does 5,000 times: Euler rollouts of ``batch``
trajectories on a clock of K steps (one network call per step, |Q| from successive calls), then the
updates of actor and critic.  The paper's experiment takes 1 to 2 hours on a T4 (2601.18681).
"""

import statistics
import time
from typing import Any

import torch
from edm_measurements import Benchmark, flags

from art_rl.learning import EulerEnvironment, LearnerConfig, TableEnvironment
from art_rl.learning.learner import Learner

ITERATIONS = 5000  # of the paper and of config/paper.yaml
SIGMA_MAX, SIGMA_MIN = 80.0, 0.002


def learning(benchmark: Benchmark, budget: int, batch: int, iterations: int) -> dict[str, Any]:
    """Median wall-clock seconds of one iteration, after two, and the hours of a whole run.

    Args:
        benchmark: holds network and device.
        budget: K, steps of the clock.
        batch: trajectories per iteration.
        iterations: measured ones.
    """
    smoke = benchmark.arguments.smoke
    denoiser = benchmark.fresh()
    noise, labels = benchmark.inputs(4 * batch)
    start = SIGMA_MAX * noise.double()
    began = time.perf_counter()
    table = TableEnvironment.from_denoiser(
        denoiser,
        start[:4] if smoke else start,
        SIGMA_MAX,
        SIGMA_MIN,
        cells=8 if smoke else 96,
        class_labels=labels if labels is None or not smoke else labels[:4],
    )
    environment = EulerEnvironment(
        denoiser, start, table, class_labels=labels, q_function=table.rollout_q()
    )
    config = LearnerConfig(
        form="paper", mode="per_budget", state="time", budget=budget, batch=batch, seed=0
    )
    learner = Learner(environment, config)
    prepared = time.perf_counter() - began
    took = []
    with flags(False):
        for _ in range(iterations + 2):
            began = time.perf_counter()
            learner.update()
            if benchmark.device.type == "cuda":
                torch.cuda.synchronize()
            took.append(time.perf_counter() - began)
    median = statistics.median(took[2:])
    return {
        "form": "paper, per budget",
        "budget": budget,
        "batch": batch,
        "measured_iterations": iterations,
        "seconds_per_iteration": median,
        "iterations_of_a_run": ITERATIONS,
        "hours_of_a_run": ITERATIONS * median / 3600,
        "table_seconds": prepared,
    }
