"""The ART-RL schedule of one budget K; feeds every table.

Most jobs read what was learned upstream, in less time than torch or SciPy takes to import: both are
imported where they are used.
"""

from rule_job import resumable, run

from art_rl.files import digest


def per_budget(snakemake, K):
    """The paper's Algorithm 1: actual Euler rollouts on a clock of K steps."""
    from art_rl.learning import EulerEnvironment, LearnerConfig, TableEnvironment, distill, train
    from art_rl.sampling.experiment import build_experiment

    control, learner = snakemake.params.control, snakemake.params.learner
    experiment = build_experiment(
        snakemake.wildcards.model,
        snakemake.params.model,
        snakemake.input.get("network"),
        tf32=True,
    )
    start = experiment.draw(control["trajectories"], control["seed"])
    table = TableEnvironment.load(snakemake.input.learned)
    config = LearnerConfig.from_dict(
        {**learner["settings"], "budget": K, "seed": learner["seeds"][0]}
    )
    options = {"class_labels": experiment.labels(control["trajectories"], control["seed"])}
    if snakemake.params.model["kind"] != "exact":  # a network call is what costs
        options["q_function"] = table.rollout_q()
    with resumable(snakemake) as state:
        result = train(
            EulerEnvironment(experiment.denoiser, start, table, **options),
            config,
            checkpoint_path=state / "checkpoint.safetensors",
        )
        return distill(result, K)


def main(snakemake):
    learner, wildcards = snakemake.params.learner, snakemake.wildcards
    schedule = per_budget(snakemake, int(wildcards.K))
    schedule.with_provenance(
        method=wildcards.method, solver=wildcards.solver, config_digest=digest(learner)
    ).save(snakemake.output.schedule)


run(main, snakemake)  # noqa: F821
