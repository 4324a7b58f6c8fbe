"""Shards of one model to its cells: every metric of every method, budget, solver and seed block."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from rule_job import one, run, schedule_key
from tqdm import tqdm

from art_rl.errors import ArtRLError
from art_rl.files import digest, read_json, sha256_file, write_json, write_npz
from art_rl.records import versions
from art_rl.registry import method as method_of
from art_rl.report.tables import REFERENCE_ERROR, write_rows
from art_rl.sampling.cells import CellPart, cell_row, merge_parts, values_of
from art_rl.sampling.experiment import build_measures
from art_rl.sampling.measures import Files
from art_rl.schedules.schedule import Schedule


def collect(paths):
    """Entries of the shards' lists by cell, and all features that they were measured with."""
    found, features = defaultdict(list), []
    for path in paths:
        facts = read_json(path)
        features.append(facts.get("features"))
        for entry in facts["cells"]:
            key = tuple(entry.get(name) for name in ("solver", "method", "K", "block"))
            found[key].append((path, entry))
    if any(other != features[0] for other in features):
        raise ArtRLError("shards were measured with different feature networks; sample again")
    return found, features[0] if features else None


def load(path, entry):
    """The part of a cell that an entry of a shard's list names."""
    part = Path(path).with_suffix(".cells") / entry["file"]
    if not part.exists():
        raise ArtRLError(f"{part}: no such file; delete {path} to sample it again")
    return CellPart.load(part)


def block_of(entries, measures):
    """(NFE, number of samples, values, the part itself where there is one) of one cell's block."""
    _, first = entries[0]
    if "values" in first:
        return first.get("nfe"), first.get("samples"), first["values"], None
    part = merge_parts((load(*entry) for entry in entries), measures)
    return part.nfe, len(part.seeds), values_of(part, measures), part


def pooled(blocks, measures):
    """FID of the images of several blocks (from `block_of`) together, as a metric of its own."""
    fid = [measure for measure in measures if measure.metric == "fid"]
    parts = [part.only("fid") for *_, part in blocks]
    return {"fid_all": values_of(merge_parts(parts, fid), fid)["fid"]}


def floors_of(snakemake, measures):
    """What no schedule can be expected to beat: metric -> label -> value; also the reference's record and
    its own numbers by block."""
    found, _ = collect(snakemake.input.reference)
    measures = [measure for measure in measures if not measure.to_reference]
    blocks = [block_of(entries, measures) for entries in found.values()]
    own = {m.metric: [values[m.metric] for _, _, values, _ in blocks] for m in measures if blocks}
    for _, _, values, _ in blocks:  # W2 is asked for by the sampling job alone
        for metric in values.keys() - own.keys():
            own[metric] = [each[2][metric] for each in blocks]
    floors = {metric: {"Reference solution, same noise": np.mean(own[metric])} for metric in own}
    reference = read_json(snakemake.input.reference[0]) if blocks else None
    if reference:
        for metric, value in reference["floors"].items():
            floors[metric]["Exact samples (sampling floor)"] = value
        if reference["error"] is not None:
            floors["rmse"] = {REFERENCE_ERROR: reference["error"]}
        del reference["cells"]
    if snakemake.params.pooled and found:
        together = pooled(blocks, measures)["fid_all"]
        floors["fid_all"] = {"Reference solution, same noise": together}
    for path in snakemake.input.target_facts:
        test = read_json(path).get("fid_test_against_train")
        for metric in floors.keys() & {"fid", "fid_all"} if test is not None else ():
            floors[metric]["Test set against training set"] = test
    floors = {metric: {k: float(v) for k, v in lines.items()} for metric, lines in floors.items()}
    fine = blocks[0][3] if blocks else None
    return reference, own, floors, fine and fine.preview


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.model
    model = snakemake.params.name
    measures = build_measures(settings, Files(target=one(inputs.target)))
    schedules = {schedule_key(path): Schedule.load(path) for path in inputs.schedules}
    found, features = collect(inputs.parts)
    reference, own, floors, fine = floors_of(snakemake, measures)
    labels = {m.metric: m.label for m in measures if m.label}
    if "fid" in labels:
        labels["fid_all"] = f"{labels['fid']}, all seed blocks together"
    notes = [measure.note for measure in measures if measure.note]
    common = {
        "versions": versions(),
        "model": settings,
        "network": read_json(inputs.network_facts[0]) if inputs.network_facts else None,
        "target": [read_json(path) for path in inputs.target_facts],
        "target_sha256": [sha256_file(path) for path in inputs.target],
        "features": features,
        "reference": reference,
        "reference_values": own,
        "floors": floors,
        "metric_labels": labels,
        "paper_note": notes[0] if notes else None,
    }
    previews = dict(zip(snakemake.params.solvers, output.get("previews", []), strict=False))
    for index, solver in enumerate(snakemake.params.solvers):
        rows, used, shown = [], [], {} if fine is None else {"reference": fine}
        for method, K, blocks in tqdm(snakemake.params.cells[solver], desc=f"cells {solver}"):
            schedule = schedules[method, method_of(method).schedule_solver(solver), K]
            used.append(schedule)
            cell = [found.get((solver, method, K, block)) for block in range(blocks)]
            if not all(cell):
                raise ArtRLError(f"{method}, {solver}, K = {K}: not sampled; sample again")
            cell = [block_of(entries, measures) for entries in cell]
            together = pooled(cell, measures) if snakemake.params.pooled else {}
            for block, (calls, samples, values, part) in enumerate(cell):
                values = {**values, **together}
                where = {"model": model, "solver": solver, "block": block}
                rows.append(cell_row(schedule, values, **where, samples=samples, nfe=calls))
                if block == 0 and part is not None:
                    shown[f"{method}_K{K}"] = part.preview
        write_rows(output.cells[index], rows)
        if solver in previews:
            write_npz(previews[solver], **shown)
        record = [
            {
                "method": schedule.method,
                "K": schedule.K,
                "sigmas_sha256": digest(list(schedule.sigmas)),
                "provenance": dict(schedule.provenance),
            }
            for schedule in used
        ]
        write_json(output.provenance[index], {**common, "schedules": record})


run(main, snakemake)  # noqa: F821
