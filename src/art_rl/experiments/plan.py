"""What a run on official checkpoints will cost, before it starts: cells, images, NFE, hours, disk, memory.

    python -m art_rl.experiments.plan config/paper.yaml

needs no GPU and downloads nothing.  Hours come from a file that benchmarks/edm_throughput.py wrote on the
GPU in question; without one there is no estimate:

    sampling   network calls / calls per second of the benchmark's variant `configured` (the `speed` of
               config/paper.yaml), at the measured batch size nearest to `sampling.batch`; a model with
               another `speed` has no estimate.  For another network scaled by FLOPs per call.
    features   11.4 GFLOP per image through Inception in float32 without TF32, here at half the measured
               float32 matrix rate; a guess, and said so.
    learning   not in the hours.  Learners of the measured endpoint error: network evaluations at most.
               The others read one table of trajectories, short beside sampling as every measurement is.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.experiments.cells import cell_blocks, methods_of_table
from art_rl.experiments.machine import machine_needs
from art_rl.files import read_json
from art_rl.registry import METHODS, RIVAL, nfe
from art_rl.settings.experiment import (
    check_configuration,
    learner_run,
)
from art_rl.settings.load import load
from art_rl.settings.rivals import LD3Settings, RivalSettings

ROOT = Path(__file__).parents[3]
THROUGHPUT = ROOT / "benchmarks/results"

# 10^9 FLOPs of one call on one image (a multiply-add counts two), by torch's counter.
GFLOP = {
    "edm-cifar10-32x32-uncond-vp": 42.38,
    "edm-cifar10-32x32-cond-vp": 42.38,
    "edm-cifar10-32x32-uncond-ve": 42.79,
    "edm-cifar10-32x32-cond-ve": 42.79,
    "edm-ffhq-64x64-uncond-vp": 83.72,
    "edm-afhqv2-64x64-uncond-vp": 83.72,
    "edm-ffhq-64x64-uncond-ve": 84.86,
    "edm-afhqv2-64x64-uncond-ve": 84.86,
    "edm-imagenet-64x64-cond-adm": 219.32,
}
INCEPTION_GFLOP = 11.4
INCEPTION_SHARE = 0.5  # of the measured float32 matrix rate


def make_plan(
    settings: Mapping[str, Any], throughput: str | os.PathLike = THROUGHPUT
) -> dict[str, Any]:
    """The plan of a checked configuration, JSON-like.

    Args:
        settings: from `art_rl.settings.experiment.check_configuration`.
        throughput: folder with the files of benchmarks/edm_throughput.py.

    Returns:
        {"models": [{model, checkpoint, solver, cells, budgets, blocks, images, nfe, calls,
        calls_per_second, sampling_hours, feature_hours}], "totals": {...}, "learning": [{model, learner,
        evaluations}], "needs": {disk_gib, memory_gib, gpu,
        gpu_memory_gib}}; hours are None without a measured throughput.

    Raises:
        ArtRLError: the configuration has no checkpoints.
    """
    used = {table["model"] for table in settings["tables"].values()}
    used |= _learned_elsewhere(settings)
    checkpoints = {
        name: model
        for name, model in settings["models"].items()
        if model.get("kind") == "edm" and name in used
    }
    if not checkpoints:
        raise ArtRLError("the configuration has no checkpoints (models of kind edm): no plan")
    measured = read_throughput(throughput)
    rows = []
    for name, model in checkpoints.items():
        solvers = [t["solver"] for t in settings["tables"].values() if t["model"] == name]
        for solver in dict.fromkeys(solvers):
            pairs = cell_blocks(settings, name, solver, model["sampling"]["seed_blocks"])
            rows.append(_row(name, model, solver, pairs, measured))
    learning = _learning(settings, checkpoints) + _rivals(settings, checkpoints)
    hours = [row[key] for row in rows for key in ("sampling_hours", "feature_hours")]
    return {
        "models": rows,
        "totals": {
            "cells": sum(row["cells"] for row in rows),
            "images": sum(row["images"] for row in rows),
            "calls": sum(row["calls"] for row in rows),
            "gpu_hours": None if None in hours else sum(hours),
        },
        "learning": learning,
        "measured": [{"network": m["network"], "device": m["device"]} for m in measured.values()],
        "needs": machine_needs(settings, checkpoints, rows),
    }


def _row(
    name: str,
    model: Mapping[str, Any],
    solver: str,
    pairs: Mapping[tuple[str, int], int],
    measured: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    sampling = model["sampling"]
    samples = sampling["samples"]
    images = sum(pairs.values()) * samples
    calls = sum(nfe(solver, K) * blocks for (_, K), blocks in pairs.items()) * samples
    rate, features = _rates(model, measured)
    return {
        "model": name,
        "checkpoint": model["checkpoint"],
        "solver": solver,
        "cells": len(pairs),
        "budgets": sorted({K for _, K in pairs}),
        "blocks": max(pairs.values()),
        "images": images,
        "nfe": sum(nfe(solver, K) for _, K in pairs),
        "calls": calls,
        "calls_per_second": rate,
        "sampling_hours": None if rate is None else calls / rate / 3600,
        "feature_hours": None if features is None else images / features / 3600,
    }


def _learned_elsewhere(settings: Mapping[str, Any]) -> set[str]:
    """The model whose schedules transfer_data carries over, if it has to be learned on."""
    transfer = settings.get("transfer", {})
    asked = any(
        "transfer_data" in methods_of_table(settings, table) for table in settings["tables"]
    )
    return {transfer["data"]} if asked and "folder" not in transfer else set()


def _learned(settings: Mapping[str, Any], model: str, method: str | None) -> set[tuple[str, int]]:
    """(solver, K) of the schedules of ``method`` learned on ``model``, for its tables or to carry over."""
    transfer = settings.get("transfer", {})
    found = set()
    for table, entry in settings["tables"].items():
        rows, own = methods_of_table(settings, table), entry["model"] == model
        budgets = set()
        if own and method in rows:
            budgets |= {*entry["budgets"]}
        if method == transfer.get("method"):
            if own and "transfer_budget" in rows:
                budgets.add(transfer["budget"])
            if "transfer_data" in rows and model in _learned_elsewhere(settings):
                budgets |= {*entry["budgets"]}
        found |= {(entry["solver"], K) for K in budgets}
    return found


def _learning(
    settings: Mapping[str, Any],
    checkpoints: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Network evaluations (one image, one call) of learners that call the network, at most so many.

    These are the learners of the measured endpoint error; the others read a table of trajectories.
    """
    rows = []
    for name in checkpoints:
        for label, learner in settings.get("learners", {}).items():
            own = learner_run(settings, name, label).to_dict()
            mine = _learned(settings, name, learner.get("method"))
            row = {"model": name, "learner": label}
            if learner.get("kind") == "endpoint":
                size = [own.get(key) for key in ("iterations", "draws", "points")]
                per_iteration = sum(nfe(solver, K) for solver, K in mine)
            else:
                continue
            known = [value for value in size if value is not None]
            if mine and len(known) == len(size):
                rows.append({**row, "evaluations": math.prod(known) * per_iteration})
    return rows


def _rivals(settings: Mapping[str, Any], checkpoints: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Network evaluations behind rival rows: what is measured of a model once, searches, LD3's learning."""
    rows = []
    for name, model in checkpoints.items():
        sizes = RivalSettings(**{**settings.get("rivals", {}), **model.get("rivals", {})})
        ld3 = LD3Settings(**{**settings.get("ld3", {}), **model.get("ld3", {})})
        asked = {
            row: _learned(settings, name, row)
            for row, known in METHODS.items()
            if known.group == RIVAL
        }
        n, counts = sizes.trajectories, {}
        if any(asked[row] for row in asked.keys() - {"oss", "ld3"}):
            counts["rival statistics"] = sizes.teacher_levels * n + sizes.paths * (
                2 * sizes.levels - 1
            )
        if asked["oss"]:
            budgets = {K for _, K in asked["oss"]}
            counts["oss"] = sizes.oss_levels * n * sum(1 + K for K in budgets)
        if asked["ld3"]:  # a backward pass counts two
            steps = ld3.steps * (ld3.rounds + ld3.shift_rounds)
            calls = sum(nfe(solver, K) for solver, K in asked["ld3"])
            counts["ld3"] = calls * (steps * (3 * ld3.train + ld3.valid) + ld3.valid)
            solvers = {solver for solver, _ in asked["ld3"]}
            reference = nfe("rk4", ld3.reference_steps)
            counts["ld3"] += len(solvers) * reference * (ld3.train + ld3.valid)
        rows += [{"model": name, "learner": key, "evaluations": n} for key, n in counts.items()]
    return rows


def read_throughput(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Measurements on GPUs by network.

    Each is {network, device, speed, calls_per_second by batch size, float32_rate, learning}.
    """
    found = {}
    for path in sorted(Path(folder).glob("edm_throughput-*-cuda*.json")):
        value = read_json(path)
        try:
            found[value["network"]] = {
                "network": value["network"],
                "device": value["environment"]["device"],
                "speed": value["configured_speed"],
                "calls_per_second": {
                    row["batch"]: row["images_per_second"] * value["nfe"]
                    for row in value["speed"]
                    if row["variant"] == "configured"
                },
                "float32_rate": value["matrix_flops_per_second"]["float32"],
                "learning": {
                    key: value["learning"][key]
                    for key in ("budget", "batch", "seconds_per_iteration")
                },
            }
        except (KeyError, TypeError) as error:
            raise ArtRLError(
                f"{path}: not a file of benchmarks/edm_throughput.py ({error})"
            ) from None
    return found


def _nearest_network(
    checkpoint: str, measured: Mapping[str, Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, float | None]:
    """(a measurement, how many times longer a call of ``checkpoint`` takes); None if not known."""
    if not measured:
        return None, None
    near = measured.get(checkpoint, next(iter(measured.values())))
    if near["network"] == checkpoint:
        return near, 1.0
    if checkpoint not in GFLOP or near["network"] not in GFLOP:
        return near, None
    return near, GFLOP[checkpoint] / GFLOP[near["network"]]


def _rates(
    model: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """(network calls, Inception images) per second, None if not known."""
    near, scale = _nearest_network(model["checkpoint"], measured)
    if near is None:
        return None, None
    features = INCEPTION_SHARE * near["float32_rate"] / (INCEPTION_GFLOP * 1e9)
    rates = near["calls_per_second"]
    if scale is None or not rates or model.get("speed", {}) != near["speed"]:
        return None, features
    batch = min(rates, key=lambda size: abs(size - model["sampling"]["batch"]))
    return rates[batch] / scale, features


def report(plan: Mapping[str, Any]) -> str:
    """The plan as text."""

    def hours(value: float | None) -> str:
        return "?" if value is None else f"{value:.1f}"

    head = ("model", "solver", "cells", "blocks", "images", "NFE/image", "calls", "GPU-hours")
    table = [head]
    for row in plan["models"]:
        parts = (row["sampling_hours"], row["feature_hours"])
        total = None if None in parts else sum(parts)
        table.append(
            (
                row["model"],
                row["solver"],
                str(row["cells"]),
                str(row["blocks"]),
                f"{row['images']:,}",
                str(row["nfe"]),
                f"{row['calls']:,}",
                hours(total),
            )
        )
    totals, needs = plan["totals"], plan["needs"]
    table.append(
        (
            "all",
            "",
            str(totals["cells"]),
            "",
            f"{totals['images']:,}",
            "",
            f"{totals['calls']:,}",
            hours(totals["gpu_hours"]),
        )
    )
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    lines.append("")
    lines.append("cells: method and budget; NFE/image: summed over the cells.")
    lines.append("Learning comes on top:")
    for row in plan["learning"]:
        line = f"  {row['model']}, {row['learner']}: {row['evaluations']:,} network evaluations at most"
        lines.append(line)
    if plan["measured"]:
        names = ", ".join(f"{m['network']} on {m['device']}" for m in plan["measured"])
        lines.append(f"GPU-hours from the measured throughput of {names};")
        lines.append("scaled by FLOPs for other networks, Inception features at a guess.")
    else:
        lines.append("GPU-hours: no measured throughput; run python benchmarks/edm_throughput.py")
    lines.append(f"disk: {needs['disk_gib']} GiB   memory: {needs['memory_gib']} GiB")
    if needs["gpu"]:
        lines.append(f"GPU memory: about {needs['gpu_memory_gib']} GiB")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--throughput", type=Path, default=THROUGHPUT)
    options = parser.parse_args(arguments)
    try:
        checked = check_configuration(load(options.config))
        print(report(make_plan(checked, options.throughput)))
    except ArtRLError as error:
        print(f"art_rl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
