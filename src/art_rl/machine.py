"""What a run on official checkpoints needs of a machine, and whether this one has it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError

GIB = 2**30
MOMENTS = 8 * 2048 * 2049  # bytes of one cell's feature moments
REFERENCE = 8 * 2048 * 2049
INCEPTION = 95_628_359
CHECKPOINTS = {"cifar10": 226e6, "ffhq": 252e6, "afhqv2": 252e6, "imagenet": 1190e6}


def machine_needs(
    settings: Mapping[str, Any], checkpoints: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Disk, memory and GPU memory of a plan, with a fifth to spare; JSON-like.

    Args:
        settings: the checked configuration.
        checkpoints: its models of kind edm.
        rows: of the plan (`art_rl.plan.make_plan`).
    """
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
    network = 0.05 if "adm" in checkpoint else 0.025 if "64x64" in checkpoint else 0.012
    return 0.02 + network


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
