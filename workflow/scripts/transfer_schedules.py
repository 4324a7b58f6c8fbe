"""Learned schedules carried over to another K or another data set; feeds Tables 5 and 6."""

from rule_job import run, schedule_key

from art_rl.schedules.schedule import Schedule


def main(snakemake):
    paths = snakemake.input.schedule
    sources = [Schedule.load(path) for path in ([paths] if isinstance(paths, str) else paths)]
    for index, path in enumerate(snakemake.output):
        method, solver, K = schedule_key(path)
        source = sources[index] if method == "transfer_data" else sources[0].resample(K)
        origin = dict(source.provenance)
        source.with_provenance(
            method=method,
            solver=solver,
            details={"from": origin, "converged": origin.get("details", {}).get("converged", True)},
        ).save(path)


run(main, snakemake)  # noqa: F821
