"""What edm_throughput.py measures of learning: the table of trajectories, and Algorithm 1 on it.

The table is what costs network calls: about three per cell for every trajectory, once for all budgets,
seeds and learners of ART's cost.  An iteration of Algorithm 1 then calls no network.
"""

import statistics
import time
from typing import Any

from edm_measurements import Benchmark, flags

from art_rl.learning import TableEnvironment
from art_rl.learning.algorithm1 import ThetaLearner
from art_rl.settings.learners import PaperSettings

TRAJECTORIES, CELLS = 64, 96  # config/paper.yaml, networks of 64 x 64 pixels
SIGMA_MAX, SIGMA_MIN = 80.0, 0.002


def learning(benchmark: Benchmark, budget: int, batch: int, iterations: int) -> dict[str, Any]:
    """Median wall-clock seconds of one iteration, after two, and the hours of a whole run.

    Args:
        benchmark: holds network and device.
        budget: K, steps of the clock.
        batch: trajectories per iteration, even, at least 8.
        iterations: measured ones.
    """
    smoke = benchmark.arguments.smoke
    noise, labels = benchmark.inputs(4 if smoke else TRAJECTORIES)
    began = time.perf_counter()
    table = TableEnvironment.from_denoiser(
        benchmark.fresh(),
        SIGMA_MAX * noise.double(),
        SIGMA_MAX,
        SIGMA_MIN,
        cells=8 if smoke else CELLS,
        class_labels=labels,
    )
    prepared = time.perf_counter() - began
    settings = PaperSettings(batch=batch)
    learner = ThetaLearner(table, budget, settings)
    took = []
    with flags(False):
        for _ in range(iterations + 2):
            began = time.perf_counter()
            learner.step()
            took.append(time.perf_counter() - began)
    median = statistics.median(took[2:])
    return {
        "form": "Algorithm 1 on the table of trajectories",
        "budget": budget,
        "batch": batch,
        "measured_iterations": iterations,
        "seconds_per_iteration": median,
        "iterations_of_a_run": settings.iterations,
        "hours_of_a_run": settings.iterations * median / 3600,
        "table_seconds": prepared,
    }
