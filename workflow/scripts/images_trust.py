"""Closed forms with |Q| trusted on other ranges; feeds the ablation in docs/images.md."""

from pathlib import Path

from image_job import device_of, image_experiment
from rule_job import run

from art_rl.files import digest, sha256_file, write_text
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.report.comparison import trust_markdown
from art_rl.report.tables import write_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.image_cells import measure_shard
from art_rl.sampling.shards import Endpoints
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.profile import Profile

# "auto": the levels the network is trained on, 0.020 to 4.5.
RANGES = {
    "auto": "auto",
    "none": None,
    "0.005 to 20": (0.005, 20.0),
    "0.05 to 4.5": (0.05, 4.5),
    "0.02 to 1.5": (0.02, 1.5),
}


def main(snakemake):
    experiment = image_experiment(snakemake, build_experiment)
    settings = snakemake.params.model
    sampling, ablation = settings["sampling"], settings["trust_ablation"]
    seeds = range(sampling["samples"])  # the first seed block
    profile = Profile.load(snakemake.input.profile)
    train = Moments.load(snakemake.input.train)
    rows = []
    for solver in ablation["solvers"]:
        schedules = {
            (f"{label}|{'propagated' if propagated else 'quadrature'}", K): quadrature_schedule(
                profile, K, propagated=propagated, trust=trust
            )
            for label, trust in RANGES.items()
            for propagated in (False, True)
            for K in ablation["budgets"]
        }
        parts = measure_shard(
            experiment.denoiser,
            schedules,
            solver,
            seeds,
            lenet_features(snakemake.input.lenet, device_of(snakemake)),
            Endpoints(snakemake.input.endpoints),
            sampling["batch"],
            folder=Path(snakemake.input.profile).parent / "trust.cells",
            key=[
                [sha256_file(path) for path in snakemake.input.endpoints],
                digest([sha256_file(path) for path in snakemake.input.numerics]),
            ],
            device=device_of(snakemake),
        )
        for (name, K), part in parts.items():
            trust, method = name.split("|")
            rows.append(
                {
                    "trust": trust,
                    "method": method,
                    "solver": solver,
                    "K": K,
                    "nfe": part.nfe,
                    "samples": len(part.seeds),
                    "fid": frechet_between(part.moments, train),
                    "rmse": part.rmse,
                }
            )
    write_rows(snakemake.output.csv, rows)
    write_text(snakemake.output.md, trust_markdown(rows))


run(main, snakemake)  # noqa: F821
