"""What a run on official checkpoints needs of a machine, and whether this one has it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from art_rl.errors import ArtRLError
from art_rl.experiments.targets import Targets
from art_rl.registry import CLOSED_FORM, LD3_ROWS, LEARNED, RIVAL, method
from art_rl.settings.experiment import learner_run
from art_rl.settings.rivals import LD3Settings, RivalSettings

GIB = 2**30
MIB = 2**20
MOMENTS = 8 * 2048 * 2049  # bytes of one cell's feature moments
REFERENCE = 8 * 2048 * 2049
INCEPTION = 95_628_359
# Activations of one image at their peak, float32 without fused attention: counted on the meta device.
ROW = {"cifar10": 10.5 * MIB, "ffhq": 27 * MIB, "afhqv2": 27 * MIB, "imagenet": 84 * MIB}
INCEPTION_ROW = 20 * MIB  # of one image at 299 x 299, from the sizes of the layers
SIDE = {"cifar10": 32}  # pixels; 64 for the others
CHECKPOINTS = {"cifar10": 226e6, "ffhq": 252e6, "afhqv2": 252e6, "imagenet": 1190e6}


def machine_needs(
    settings: Mapping[str, Any], checkpoints: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Disk, memory and GPU memory of a plan, with a fifth to spare; JSON-like.

    Args:
        settings: the checked configuration.
        checkpoints: its models of kind edm.
        rows: of the plan (`art_rl.experiments.plan.make_plan`).
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
        if sampling.get("png"):
            pixels = 3 * _find(SIDE, row["checkpoint"], 64) ** 2
            disk += row["images"] * max(pixels, 4096)  # file systems give a file 4 KiB at least
    cuda = {name: m for name, m in checkpoints.items() if m["sampling"]["device"] == "cuda"}
    # 2 GiB: CUDA, its libraries and Inception.
    working = [2 + (sizes[name] + _work(settings, name, m)) / GIB for name, m in cuda.items()]
    base = 6 if cuda else 2  # GiB: Python, torch, CUDA's host side; Inception; moments
    return {
        "disk_gib": round(1.2 * disk / GIB, 1),
        "memory_gib": round(base + 3 * max(sizes.values()) / GIB, 1),
        "gpu": bool(cuda),
        "gpu_memory_gib": round(1.2 * max(working), 1) if cuda else 0.0,
    }


def _find(table: Mapping[str, float], checkpoint: str, default: float) -> float:
    """The entry of the data set that a checkpoint's name holds."""
    return next((value for key, value in table.items() if key in checkpoint), default)


def _size(settings: Mapping[str, Any], name: str) -> float:
    """Bytes of a checkpoint."""
    own = settings.get("assets", {}).get(name)
    return _find(CHECKPOINTS, name, 0) if own is None else own.get("size", 0)


def float32_rows(settings: Mapping[str, Any], name: str) -> int:
    """Most states in one float32 call of what a run measures and learns on a model."""
    targets = Targets(settings)
    used = targets.methods(name)
    groups = {method(row).group for row in used - {"endpoint"}}
    rows = [1]
    if CLOSED_FORM in groups:
        rows.append(64)  # profile.measure_profile
    if "endpoint" in used:  # error_moments.measure_error_moments
        rows.append(max(256, targets.block(name, "endpoint").get("trajectories", 0)))
    if "gauss_newton" in used:  # gauss_newton.NETWORK
        rows.append(64)
    if LEARNED in groups or "transfer_budget" in used:
        rows.append(targets.block(name, "control").get("trajectories", 0))
    if RIVAL in groups:
        rows.append(RivalSettings(**targets.block(name, "rivals")).batch_size)
    if used & set(LD3_ROWS):
        sizes = LD3Settings(**targets.block(name, "ld3"))
        rows.append(max(sizes.train, sizes.valid))
    for label, learner in targets.learners.items():
        if learner["kind"] == "endpoint" and learner.get("method") in used:
            own: Any = learner_run(settings, name, label)
            rows.append(own.batch_rows)
    return max(rows)


def _work(settings: Mapping[str, Any], name: str, model: Mapping[str, Any]) -> float:
    """Bytes of GPU memory at work: the larger of a float32 call and of sampling with its features."""
    row = _find(ROW, model["checkpoint"], 27 * MIB)
    half = model.get("speed", {}).get("dtype", "float32") != "float32"
    sampling = model["sampling"]["batch"] * (INCEPTION_ROW + (row / 2 if half else row))
    return max(float32_rows(settings, name) * row, sampling)


def check_interpreter(executable: str) -> None:
    """ArtRLError if a shell would not take Python's path as one word: Snakemake does not quote it.

    Args:
        executable: ``sys.executable`` of the main process.
    """
    odd = sorted({mark for mark in executable if mark.isspace() or mark in _SHELL_MARKS})
    if odd:
        raise ArtRLError(
            f"the path of Python, {executable!r}, holds {' '.join(map(repr, odd))}, and Snakemake starts "
            "scripts without quoting it; move the repository or its .venv to a path without"
        )


# Marks with a meaning to a shell; anything else, accents and other scripts too, is taken as it is.
_SHELL_MARKS = "\"'`$&|;<>()*?[]{}#~!\\"


def check_shipped(settings: Mapping[str, Any], root: Path) -> None:
    """ArtRLError, naming the key, unless networks that models have as trained already are there.

    Args:
        settings: the checked configuration.
        root: the repository, from which the paths count.
    """
    for name, model in settings["models"].items():
        path = model.get("trained")
        for file in [path, Path(path).with_suffix(".json")] if path else []:
            if not (root / file).is_file():
                raise ArtRLError(
                    f"models.{name}.trained: no file {file} in {root}; the path counts from there; leave "
                    "the key out to train a network"
                )


def check_folders(folders: Mapping[str, str | os.PathLike]) -> None:
    """ArtRLError, naming the pathvar, unless products can lie in ``folders``: below a folder, if at all."""
    for name, folder in folders.items():
        for path in (Path(folder), *Path(folder).parents):
            if path.is_dir():
                break
            if path.is_symlink() or path.exists():
                what = "a link to nothing" if not path.exists() else "a file, not a folder"
                raise ArtRLError(f"pathvars.{name} is {folder}, but {path} is {what}; move it away")


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
    has: dict[str, Any] = {
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
                f"{has['gpu_memory_gib']}; set a smaller sampling.batch, rivals.batch_size or batch_rows"
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
