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
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.experiments.machine import machine_needs
from art_rl.experiments.targets import Targets
from art_rl.files import read_json
from art_rl.registry import LD3_ROWS, METHODS, RIVAL, STATISTICS, made_from, nfe
from art_rl.settings.experiment import check_configuration, learner_run
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
    targets = Targets(settings)
    checkpoints = {
        name: model
        for name, model in targets.models.items()
        if model.get("kind") == "edm"
        and (name in targets.used() or targets.learned(name, targets.transfer.get("method")))
    }
    if not checkpoints:
        raise ArtRLError("the configuration has no checkpoints (models of kind edm): no plan")
    measured = read_throughput(throughput)
    rows = [
        _row(name, model, solver, targets.blocks(name, solver), measured)
        for name, model in checkpoints.items()
        for solver in targets.solvers(name)
    ]
    learning = [row for name in checkpoints for row in _learning(targets, name)]
    learning += [row for name in checkpoints for row in _rivals(targets, name)]
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
    cells: Sequence[tuple[str, int, int]],
    measured: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    samples = model["sampling"]["samples"]
    images = sum(blocks for *_, blocks in cells) * samples
    calls = sum(nfe(solver, K) * blocks for _, K, blocks in cells) * samples
    rate, features = _rates(model, measured)
    return {
        "model": name,
        "checkpoint": model["checkpoint"],
        "solver": solver,
        "cells": len(cells),
        "budgets": sorted({K for _, K, _ in cells}),
        "blocks": max(blocks for *_, blocks in cells),
        "images": images,
        "nfe": sum(nfe(solver, K) for _, K, _ in cells),
        "calls": calls,
        "calls_per_second": rate,
        "sampling_hours": None if rate is None else calls / rate / 3600,
        "feature_hours": None if features is None else images / features / 3600,
    }


def _learning(targets: Targets, name: str) -> Iterator[dict[str, Any]]:
    """Network evaluations (one image, one call) of learners that call the network, at most so many.

    These are the learners of the measured endpoint error; the others read a table of trajectories.
    """
    for label, learner in targets.learners.items():
        if learner["kind"] == "endpoint":
            own: Any = learner_run(targets.settings, name, label)
            wanted = targets.learned(name, learner.get("method"))
            calls = sum(nfe(solver, K) for solver, budgets in wanted.items() for K in budgets)
            size = own.iterations * own.draws * own.points
            if calls:
                yield {"model": name, "learner": label, "evaluations": size * calls}


def _rivals(targets: Targets, name: str) -> Iterator[dict[str, Any]]:
    """Network evaluations behind rival rows: what is measured of a model once, searches, LD3's learning."""
    sizes = RivalSettings(**targets.block(name, "rivals"))
    ld3 = LD3Settings(**targets.block(name, "ld3"))
    rows = [row for row, known in METHODS.items() if known.group == RIVAL]
    asked = {row: targets.learned(name, row) for row in rows}
    n, counts = sizes.trajectories, {}
    if any(asked[row] for row in made_from(STATISTICS)):
        paths = sizes.paths * (2 * sizes.levels - 1)
        counts["rival statistics"] = sizes.teacher_levels * n + paths
    if asked["oss"]:
        counts["oss"] = sizes.oss_levels * n * sum(1 + K for K in asked["oss"]["any"])
    for row in LD3_ROWS:
        if asked[row]:  # a backward pass counts two
            steps = ld3.steps * ld3.rounds
            calls = sum(nfe(solver, K) for solver, budgets in asked[row].items() for K in budgets)
            counts[row] = calls * (steps * (3 * ld3.train + ld3.valid) + ld3.valid)
            reference = nfe("rk4", ld3.reference_steps)
            counts[row] += len(asked[row]) * reference * (ld3.train + ld3.valid)
    for key, count in counts.items():
        yield {"model": name, "learner": key, "evaluations": count}


def read_throughput(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Measurements on GPUs by network.

    Each is {network, device, speed, calls_per_second by batch size, float32_rate}.
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
    table: list[tuple[Any, ...]] = [head]
    for row in plan["models"]:
        parts = (row["sampling_hours"], row["feature_hours"])
        total = hours(None if None in parts else sum(parts))
        counts = (row["blocks"], f"{row['images']:,}", row["nfe"], f"{row['calls']:,}")
        table.append((row["model"], row["solver"], row["cells"], *counts, total))
    totals, needs = plan["totals"], plan["needs"]
    counts = ("", f"{totals['images']:,}", "", f"{totals['calls']:,}")
    table.append(("all", "", totals["cells"], *counts, hours(totals["gpu_hours"])))
    widths = [max(len(str(row[i])) for row in table) for i in range(len(head))]
    lines = [
        "  ".join(
            f"{cell:{'<' if i < 2 else '>'}{width}}"
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
