"""Shards of one checkpoint and solver to its cells, FID per seed block; feeds Tables 2, 3, 5, 6."""

from pathlib import Path

import torch
from rule_job import run, schedule_key
from tqdm import tqdm

from art_rl.errors import ArtRLError
from art_rl.files import digest, read_json, sha256_file, write_json, write_npz
from art_rl.metrics.frechet import Target, load_reference
from art_rl.records import versions
from art_rl.report.tables import write_rows
from art_rl.sampling.shards import CellPart, merge_parts
from art_rl.schedules.schedule import Schedule

NOTE = "the same checkpoint, data and features unless the configuration says otherwise"


def load_cell(shards, cell):
    """All shards of one cell of one block, merged."""
    parts = []
    for path, files in shards:
        part = Path(path).with_suffix(".cells") / files[cell]
        if not part.exists():
            raise ArtRLError(f"{part}: no such file; delete {path} to sample it again")
        parts.append(CellPart.load(part))
    return merge_parts(parts)


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    model, solver = snakemake.wildcards.model, snakemake.wildcards.solver
    sampling = snakemake.params.model["sampling"]
    schedules = {schedule_key(path): Schedule.load(path) for path in snakemake.input.schedules}
    facts = [read_json(path) for path in snakemake.input.parts]
    if len({part["inception"] for part in facts}) > 1:
        raise ArtRLError("shards were measured with different Inception weights; sample again")
    shards = [
        (path, {(method, K): name for method, K, name in part["cells"]})
        for path, part in zip(snakemake.input.parts, facts, strict=True)
    ]
    per_block = len(shards) // sampling["seed_blocks"]
    target = Target.of(*load_reference(snakemake.input.reference))
    rows, previews = [], {}
    for (method, _, K), schedule in tqdm(schedules.items(), desc=f"FID {solver}"):
        converged = bool(schedule.provenance.get("details", {}).get("converged", True))
        for block in range(sampling["seed_blocks"]):
            part = load_cell(shards[block * per_block : (block + 1) * per_block], (method, K))
            if block == 0:
                previews[f"{method}_K{K}"] = part.preview
            rows.append(
                {
                    "model": model,
                    "method": method,
                    "solver": solver,
                    "K": K,
                    "nfe": part.nfe,
                    "block": block,
                    "samples": len(part.seeds),
                    "fid": target.distance(part.moments),
                    "converged": converged,
                }
            )
    write_rows(snakemake.output.cells, rows)
    write_npz(snakemake.output.previews, **previews)
    write_json(
        snakemake.output.provenance,
        {
            "versions": versions(),
            "model": {
                "config": snakemake.params.model,
                "network": read_json(snakemake.input.facts),
            },
            "metric_labels": {"fid": "FID (Inception)"},
            "paper_note": NOTE,
            "inception_sha256": facts[0]["inception"],
            "reference_sha256": sha256_file(snakemake.input.reference),
            "schedules": [
                {
                    "method": schedule.provenance["method"],
                    "K": schedule.K,
                    "sigmas_sha256": digest(list(schedule.sigmas)),
                    "provenance": dict(schedule.provenance),
                }
                for schedule in schedules.values()
            ],
        },
    )


run(main, snakemake)  # noqa: F821
