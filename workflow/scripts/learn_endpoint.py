"""Learn the schedules of one solver on the measured endpoint error; feeds every table."""

import shutil

from rule_job import resumable, run

from art_rl.files import write_json
from art_rl.flow.solvers import ORDERS
from art_rl.learning.endpoint_reward import EndpointConfig, train_endpoint
from art_rl.sampling.experiment import build_experiment
from art_rl.schedules.closed_form import node_density
from art_rl.schedules.profile import Profile


def main(snakemake):
    control, solver = snakemake.params.control, snakemake.wildcards.solver
    seed = int(snakemake.wildcards.seed)
    config = EndpointConfig.from_dict({**snakemake.params.settings, "seed": seed})
    experiment = build_experiment(
        snakemake.wildcards.model,
        snakemake.params.model,
        snakemake.input.get("network"),
        tf32=True,
    )
    n = control.get("endpoint_states", control["trajectories"])
    states = experiment.draw(n, control["seed"])
    labels = experiment.labels(n, control["seed"])
    half = len(states) // 2
    profile = Profile.load(snakemake.input.profile)
    order = ORDERS[solver]
    densities = {"quadrature": node_density(profile)}
    densities["propagated"] = node_density(profile, propagated=True)
    if order > 1:
        densities["quadrature_order"] = node_density(profile, order)
    with resumable(snakemake) as state:
        result = train_endpoint(
            experiment.denoiser,
            states[:half],
            states[half:],
            experiment.sigma_max,
            experiment.sigma_min,
            solver,
            snakemake.params.budgets,
            config,
            metrics_path=state / "metrics.jsonl",
            checkpoint_path=state / "checkpoint.safetensors",
            densities=densities,
            class_labels=None if labels is None else (labels[:half], labels[half:]),
        )
        shutil.copyfile(state / "metrics.jsonl", snakemake.output.metrics)
        result.save(snakemake.output.tensors)
        schedules = {}
        for K in snakemake.params.budgets:
            schedule = result.schedule(K)
            schedules[str(K)] = {
                "sigmas": list(schedule.sigmas),
                "provenance": {**schedule.provenance, "model": experiment.name},
            }
        write_json(snakemake.output.schedules, schedules)


run(main, snakemake)  # noqa: F821
