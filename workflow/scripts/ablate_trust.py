"""Closed forms with |Q| trusted on other ranges; feeds the ablation in docs/images.md."""

from pathlib import Path

import torch
from rule_job import model_of, one, run
from tqdm import tqdm

from art_rl.files import digest, sha256_file, write_text
from art_rl.report.comparison import trust_markdown
from art_rl.report.tables import write_rows
from art_rl.sampling.cells import CellPart, cell_file, measure_seeds, values_of
from art_rl.sampling.experiment import build_experiment
from art_rl.sampling.measures import Files
from art_rl.schedules.closed_form import quadrature_schedule
from art_rl.schedules.profile import Profile
from art_rl.settings.sampling import CellSampling

# "auto": the levels the network is trained on, 0.020 to 4.5.
RANGES = {
    "auto": "auto",
    "none": None,
    "0.005 to 20": (0.005, 20.0),
    "0.05 to 4.5": (0.05, 4.5),
    "0.02 to 1.5": (0.02, 1.5),
}


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    sampling, ablation = CellSampling(**params.sampling), params.model["trust_ablation"]
    experiment = build_experiment(*model_of(snakemake), sampling=sampling)
    measures = experiment.measures(
        Files(one(inputs.features), one(inputs.target), inputs.reference)
    )
    profile = Profile.load(inputs.profile)
    seeds = range(sampling.samples)  # the first seed block
    key = [
        [sha256_file(path) for path in inputs.reference],
        digest([sha256_file(path) for path in inputs.numerics]),
        sampling.batch,
    ]
    todo = [
        (solver, label, propagated, K)
        for solver in ablation["solvers"]
        for label in RANGES
        for propagated in (False, True)
        for K in ablation["budgets"]
    ]
    rows = []
    for solver, label, propagated, K in tqdm(todo, desc="cells"):
        schedule = quadrature_schedule(profile, K, propagated=propagated, trust=RANGES[label])
        folder = Path(inputs.profile).parent / "trust.cells"
        path = cell_file(folder, experiment, schedule, solver, seeds, measures, key)
        if not path.exists():
            measure_seeds(experiment, schedule, solver, seeds, measures, sampling.batch).save(path)
        part = CellPart.load(path)
        rows.append(
            {
                "trust": label,
                "method": "propagated" if propagated else "quadrature",
                "solver": solver,
                "K": K,
                "nfe": part.nfe,
                "samples": len(part.seeds),
                **dict(sorted(values_of(part, measures).items())),
            }
        )
    write_rows(snakemake.output.csv, rows)
    write_text(snakemake.output.md, trust_markdown(rows))


run(main, snakemake)  # noqa: F821
