"""What a run on official checkpoints will cost, before it starts: cells, images, NFE, hours, disk, memory.

    python -m art_rl.plan config/paper.yaml

needs no GPU and downloads nothing.  Sampling time is network calls / measured calls per second.  The rate
comes from a file that benchmarks/edm_throughput.py wrote on the GPU in question (its best rate with our
settings); for another network it is scaled by FLOPs per call.  Without such a file there is no estimate.
Inception features take 11.4 GFLOP per image in float32 without TF32, here at half the measured float32
matrix rate; a guess, and said so.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from art_rl.errors import ArtRLError
from art_rl.files import read_json
from art_rl.settings import check_experiment_settings, wanted_cells
from art_rl.solver_costs import nfe

ROOT = Path(__file__).parents[2]
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

GIB = 2**30
MOMENTS = 8 * 2048 * 2049  # bytes of one cell's feature moments
REFERENCE = 8 * 2048 * 2049
INCEPTION = 95_628_359
CHECKPOINTS = {"cifar10": 226e6, "ffhq": 252e6, "afhqv2": 252e6, "imagenet": 1190e6}


def make_plan(
    settings: Mapping[str, Any], throughput: str | os.PathLike = THROUGHPUT
) -> dict[str, Any]:
    """The plan of a checked configuration, JSON-like.

    Args:
        settings: with defaults filled (`art_rl.settings.check_experiment_settings`).
        throughput: folder with the files of benchmarks/edm_throughput.py.

    Returns:
        {"models": [{model, checkpoint, solver, cells, budgets, blocks, images, nfe, calls,
        calls_per_second, sampling_hours, feature_hours}], "totals": {...}, "needs": {disk_gib,
        memory_gib, gpu, gpu_memory_gib}}; hours are None without a measured throughput.

    Raises:
        ArtRLError: the configuration has no checkpoints.
    """
    checkpoints = {name: m for name, m in settings["models"].items() if m.get("kind") == "edm"}
    if not checkpoints:
        raise ArtRLError("the configuration has no checkpoints (models of kind edm): no plan")
    measured = read_throughput(throughput)
    rows = []
    for name, model in checkpoints.items():
        used = [t["solver"] for t in settings["tables"].values() if t["model"] == name]
        for solver in dict.fromkeys(used):
            pairs = wanted_cells(settings, name, solver)
            rows.append(_row(name, model, solver, pairs, measured))
    hours = [(row["sampling_hours"], row["feature_hours"]) for row in rows]
    known = all(a is not None and b is not None for a, b in hours)
    return {
        "models": rows,
        "totals": {
            "cells": sum(row["cells"] for row in rows),
            "images": sum(row["images"] for row in rows),
            "calls": sum(row["calls"] for row in rows),
            "gpu_hours": sum(a + b for a, b in hours) if known else None,
        },
        "measured": [{"network": m["network"], "device": m["device"]} for m in measured.values()],
        "needs": _needs(settings, checkpoints, rows),
    }


def _row(
    name: str,
    model: Mapping[str, Any],
    solver: str,
    pairs: Sequence[tuple[str, int]],
    measured: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    sampling = model["sampling"]
    blocks, samples = sampling["seed_blocks"], sampling["samples"]
    per_image = sum(nfe(solver, K) for _, K in pairs)
    images = len(pairs) * blocks * samples
    calls = per_image * blocks * samples
    rate, features = _rates(model["checkpoint"], measured)
    return {
        "model": name,
        "checkpoint": model["checkpoint"],
        "solver": solver,
        "cells": len(pairs),
        "budgets": sorted({K for _, K in pairs}),
        "blocks": blocks,
        "images": images,
        "nfe": per_image,
        "calls": calls,
        "calls_per_second": rate,
        "sampling_hours": None if rate is None else calls / rate / 3600,
        "feature_hours": None if features is None else images / features / 3600,
    }


def read_throughput(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Measurements on GPUs by network: {network, device, calls_per_second, float32_rate}."""
    found = {}
    for path in sorted(Path(folder).glob("edm_throughput-*-cuda*.json")):
        value = read_json(path)
        try:
            rates = value["best_images_per_second"]
            found[value["network"]] = {
                "network": value["network"],
                "device": value["environment"]["device"],
                "calls_per_second": (rates["ours"] or rates["official"]) * value["nfe"],
                "float32_rate": value["matrix_flops_per_second"]["float32"],
            }
        except (KeyError, TypeError) as error:
            raise ArtRLError(
                f"{path}: not a file of benchmarks/edm_throughput.py ({error})"
            ) from None
    return found


def _rates(
    checkpoint: str, measured: Mapping[str, Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """(network calls, Inception images) per second, None if not known."""
    if not measured:
        return None, None
    near = measured.get(checkpoint, next(iter(measured.values())))
    features = INCEPTION_SHARE * near["float32_rate"] / (INCEPTION_GFLOP * 1e9)
    if checkpoint in measured:
        return near["calls_per_second"], features
    if checkpoint not in GFLOP or near["network"] not in GFLOP:
        return None, features
    return near["calls_per_second"] * GFLOP[near["network"]] / GFLOP[checkpoint], features


def _needs(
    settings: Mapping[str, Any], checkpoints: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Disk, memory and GPU memory, with a fifth to spare."""
    sizes = {name: _size(settings, model["checkpoint"]) for name, model in checkpoints.items()}
    downloads = {model["checkpoint"]: sizes[name] for name, model in checkpoints.items()}
    downloads |= {model["reference"]: REFERENCE for model in checkpoints.values()}
    downloads |= {model["inception"]: INCEPTION for model in checkpoints.values()}
    disk = sum(downloads.values()) + sum(sizes.values())  # as fetched, and converted
    for row in rows:
        sampling = checkpoints[row["model"]]["sampling"]
        shards = -(-sampling["samples"] // sampling["shard"])
        disk += row["cells"] * row["blocks"] * shards * MOMENTS
    cuda = [m for m in checkpoints.values() if m["sampling"]["device"] == "cuda"]
    working = [2 + m["sampling"]["batch"] * _image_gib(m["checkpoint"]) for m in cuda]
    base = 6 if cuda else 2  # GiB: Python, torch, CUDA's host side; Inception; moments
    return {
        "disk_gib": round(1.2 * disk / GIB, 1),
        "memory_gib": round(base + 3 * max(sizes.values()) / GIB, 1),
        "gpu": bool(cuda),
        "gpu_memory_gib": round(1.2 * max(working), 1) if cuda else 0.0,
    }


def _size(settings: Mapping[str, Any], name: str) -> float:
    """Bytes of a checkpoint."""
    own = settings.get("assets", {}).get(name)
    if own is not None:
        return own.get("size", 0)
    return next((size for key, size in CHECKPOINTS.items() if key in name), 0)


def _image_gib(checkpoint: str) -> float:
    """GPU memory per image of a batch: Inception at 299 x 299, and the network's activations.  Rules
    of thumb from the sizes of the layers, not measurements."""
    return 0.02 + 0.012 * (4 if "64x64" in checkpoint else 1) * (2 if "adm" in checkpoint else 1)


def check_machine(
    plan: Mapping[str, Any], folders: Sequence[str | os.PathLike], gpu: bool = True
) -> dict[str, Any]:
    """What this machine has, or an ArtRLError naming the first thing it lacks.

    Args:
        folders: of results and downloads, the first one decides which disk; what lies in them already
            counts as available.
        gpu: also look for a GPU (with nvidia-smi), if the plan needs one.
    """
    needs = plan["needs"]
    existing = [Path(folder) for folder in folders if Path(folder).is_dir()]
    files = {path for folder in existing for path in folder.rglob("*") if path.is_file()}
    disk = shutil.disk_usage(existing[0] if existing else ".").free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    has = {
        "disk_gib": round((disk + sum(path.stat().st_size for path in files)) / GIB, 1),
        "memory_gib": round(memory, 1),
    }
    for key, what in (("disk_gib", "disk space"), ("memory_gib", "memory")):
        if has[key] < needs[key]:
            raise ArtRLError(
                f"this run needs {needs[key]} GiB of {what}, this machine has {has[key]}; ask for fewer "
                "tables, methods or seed blocks, or set pathvars.results to a larger disk"
            )
    if gpu and needs["gpu"]:
        has["gpu"], has["gpu_memory_gib"] = find_gpu()
        if has["gpu_memory_gib"] < needs["gpu_memory_gib"]:
            raise ArtRLError(
                f"this run needs {needs['gpu_memory_gib']} GiB of GPU memory (an estimate), {has['gpu']} has "
                f"{has['gpu_memory_gib']}; set a smaller sampling.batch"
            )
    return has


def find_gpu() -> tuple[str, float]:
    """(name, GiB) of the largest GPU, from nvidia-smi; ArtRLError if there is none."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
        rows = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if "," in line]
        return max(
            ((name.strip(), round(int(mib) / 1024, 1)) for name, mib in rows), key=lambda g: g[1]
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        raise ArtRLError(
            "sampling.device is cuda, but nvidia-smi finds no GPU here; run on a machine with one or set "
            "sampling.device: cpu"
        ) from None


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
    lines.append(
        "cells: method and budget; NFE/image: summed over the cells. Learning comes on top."
    )
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
    schema = ROOT / "workflow/schemas/config.schema.yaml"
    try:
        settings = yaml.safe_load(options.config.read_text())
        checked = check_experiment_settings(settings, yaml.safe_load(schema.read_text()))
        print(report(make_plan(checked, options.throughput)))
    except (ArtRLError, OSError, yaml.YAMLError) as error:
        print(f"art_rl: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
