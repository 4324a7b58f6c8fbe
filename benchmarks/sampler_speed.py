"""Speed of the sampler on the image models trained here, and what each setting gains.

    python benchmarks/sampler_speed.py [--network results/digits/network.safetensors] [--device cpu]

Without --network the two networks of the configurations, with random weights (speed does not depend on
them).  Every variant takes the same Euler steps; CPU time of one thread is reported beside wall time,
because neighbours on a shared machine inflate the latter.  Accuracy: largest difference of D to the
float32 variant.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from networks import SHIPPED, shipped
from torch import Tensor

from art_rl.denoisers.unet import UNetDenoiser, load_model, parameter_count
from art_rl.flow.seeds import one_hot
from art_rl.flow.solvers import solve
from art_rl.schedules.hand_made import baseline_schedule


def variant_call(model: UNetDenoiser, name: str) -> Callable[..., Tensor]:
    """The denoiser under one setting; attributes the solvers need are kept."""
    device = next(model.parameters()).device.type
    layout = torch.channels_last if "channels_last" in name else torch.contiguous_format
    model = model.to(memory_format=layout)
    network = torch.compile(model) if "compile" in name else model

    def call(x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=layout)
        with torch.autocast(device, torch.bfloat16, enabled="bfloat16" in name):
            return network(x, sigma, class_labels)

    return call


def measure(model: UNetDenoiser, name: str, batch: int, steps: int, repeats: int) -> dict:
    """Median over repeats of NFE x images per second, wall and CPU."""
    device = next(model.parameters()).device
    call = variant_call(model, name)
    schedule = baseline_schedule("gaussian", steps, 80.0, 0.002, model.sigma_data)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, *model.shape, generator=generator, dtype=torch.float64)
    x = (schedule.sigma_max * noise).to(device)
    labels = None
    if model.label_dim:
        labels = one_hot(torch.arange(batch) % model.label_dim, model.label_dim).to(device)
    began = time.perf_counter()
    with torch.no_grad():
        solve(call, x, schedule, "euler", labels)
        warm = time.perf_counter() - began
        wall, cpu = [], []
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            solve(call, x, schedule, "euler", labels)
            if device.type == "cuda":
                torch.cuda.synchronize()
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        probe = x / 80.0
        level = torch.tensor(1.0, dtype=torch.float64, device=device)
        found = call(probe, level, labels)  # first: the other layout is the same model's
        plain = variant_call(model, "float32")(probe, level, labels)
        difference = (found - plain).abs().max()
    work = steps * batch
    return {
        "variant": name,
        "batch": batch,
        "per_second": round(work / statistics.median(wall)),
        "per_cpu_second": round(work / statistics.median(cpu)),
        "first_call_seconds": round(warm, 2),
        "largest_difference": float(difference),
    }


def main() -> None:
    """Measure and print a table and, with --json, a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", help="weights of a trained network (.safetensors)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[250])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[
            "float32",
            "channels_last",
            "bfloat16",
            "compile",
            "channels_last+bfloat16+compile",
        ],
    )
    parser.add_argument("--json", help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.network:
        models = {arguments.network: load_model(arguments.network, arguments.device)}
    else:
        models = {
            name: UNetDenoiser(shipped(name), 0.6).to(arguments.device).eval() for name in SHIPPED
        }
    rows = []
    for label, model in models.items():
        print(
            f"{label}: {parameter_count(model):,} parameters, {arguments.device}, threads {arguments.threads}"
        )
        for name in arguments.variants:
            for batch in arguments.batches:
                row = measure(model, name, batch, arguments.steps, arguments.repeats)
                rows.append({"network": label, "device": arguments.device, **row})
                print(
                    f"  {name:32s} batch {batch:5d}  {row['per_second']:8d} /s  "
                    f"{row['per_cpu_second']:8d} /CPU s  first call {row['first_call_seconds']:7.2f} s  "
                    f"difference {row['largest_difference']:.1e}",
                    flush=True,
                )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
