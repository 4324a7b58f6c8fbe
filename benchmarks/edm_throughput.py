"""Sampling speed of an EDM network: images per second, achieved FLOP/s, and what each setting costs.

One command on a machine with a GPU (about ten minutes, most of it compilation):

    python benchmarks/edm_throughput.py

It measures the CIFAR-10 DDPM++ network (random weights; speed does not depend on them) sampling with
Heun at 18 steps (35 calls), noise and uint8 conversion included:

    official      eager, float32, NCHW, attention by tensor operations, PyTorch's default flags (TF32 in
                  convolutions), as the official script runs it, without its unused per-step noise
    configured    the `speed` of config/paper.yaml: what `make paper` samples with (the plan uses it)
    one switch    each of channels_last, fused attention, bf16, fp16, compile, CUDA graphs, cuDNN
                  autotuning alone, at one batch size
    all_*         all of them together; configured and these at every batch size

FLOPs are counted by torch's counter on one call and compared with the measured rate of a large matrix
product.  Learning: the table of trajectories, and Algorithm 1 on it (edm_learning.py).  Accuracy:
error of one call, and of the final images, against float32 without TF32, beside the solver's own error
(18 against 72 steps).  Real weights: --weights net.safetensors --description net.json.

--smoke runs everything at tiny size on any machine (also without a GPU) in about a minute.
"""

import argparse
import platform
from pathlib import Path
from typing import Any

import torch
from edm_learning import learning
from edm_measurements import Benchmark, configured_speed, matrix_rates, variants
from tqdm import tqdm

from art_rl.denoisers.edm import RELEASED
from art_rl.files import write_json
from art_rl.flow.solvers import nfe


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one JSON-like value."""
    torch.manual_seed(0)
    benchmark = Benchmark(arguments)
    cuda = benchmark.device.type == "cuda"
    rates = matrix_rates(benchmark.device, 128 if arguments.smoke else 8192 if cuda else 1024)
    compile = "eager" if arguments.smoke else True
    chosen = [
        variant
        for variant in variants(compile, graphs=cuda)
        if (cuda or not variant.needs_cuda) and variant.name not in arguments.skip
    ]
    rows, skipped = [], []
    jobs = [
        (variant, batch)
        for variant in chosen
        for batch in (arguments.batch_sizes if variant.all_batches else [arguments.switch_batch])
    ]
    for variant, batch in tqdm(jobs, desc="speed", disable=arguments.quiet):
        try:
            rows.append(benchmark.speed(variant, batch, rates))
        except RuntimeError as error:  # out of memory, or a setting this machine cannot do
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            skipped.append({"variant": variant.name, "batch": batch, "reason": reason})
    for variant in variants(compile, graphs=cuda):
        if variant not in chosen:
            skipped.append({"variant": variant.name, "reason": "needs CUDA or --skip"})

    def best(*names: str) -> float:
        return max(
            (row["images_per_second"] for row in rows if row["variant"] in names), default=0.0
        )

    rate = {
        "official": best("official"),
        "configured": best("configured"),
        "all": best("all_bf16", "all_fp16"),
    }
    official = rate["official"]
    return {
        "network": benchmark.name,
        "weights": str(arguments.weights or "random"),
        "parameters": benchmark.parameters,
        "solver": "heun",
        "steps": benchmark.K,
        "nfe": nfe("heun", benchmark.K),
        "flops_per_call_and_image": benchmark.flops,
        "environment": {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
            "threads": torch.get_num_threads(),
        },
        "matrix_flops_per_second": rates,
        "speed": rows,
        "skipped": skipped,
        "configured_speed": configured_speed(),
        "best_images_per_second": rate,
        "speed_up": {
            name: rate[name] / official if official and rate[name] else None
            for name in ("configured", "all")
        },
        "learning": learning(
            benchmark, arguments.steps, arguments.learning_batch, arguments.learning_iterations
        ),
        "accuracy": benchmark.accuracy(
            [variant for variant in chosen if any(row["variant"] == variant.name for row in rows)],
            arguments.accuracy_batch,
        ),
    }


def report(result: dict[str, Any]) -> str:
    """The result as a short text table."""
    lines = [f"{result['network']} on {result['environment']['device']}, NFE {result['nfe']}"]
    for row in result["speed"]:
        lines.append(
            f"{row['variant']:>16} batch {row['batch']:>5}  {row['images_per_second']:>10.1f} images/s"
            f"  {row['flops_per_second'] / 1e12:>8.2f} TFLOP/s"
            f"  {100 * row['share_of_matrix_rate']:>5.1f} % of {row['matrix_rate']} matrix rate"
        )
    accuracy = result["accuracy"]
    for row in result["skipped"]:
        lines.append(f"{row['variant']:>16} skipped: {row['reason']}")
    learned = result["learning"]
    lines.append(
        f"ART-RL, K = {learned['budget']}, {learned['batch']} trajectories: "
        f"{learned['seconds_per_iteration']:.3g} s per iteration, "
        f"{learned['hours_of_a_run']:.2g} h for {learned['iterations_of_a_run']} iterations, "
        f"after {learned['table_seconds']:.3g} s for the table"
    )
    lines.append(
        f"solver's own error: rms {accuracy['solver_rms_error']:.2e} (images {accuracy['images_rms']:.2e})"
    )
    for row in accuracy["variants"]:
        worst = max(row["one_call_max_relative_error"].values())
        lines.append(
            f"{row['variant']:>16} one call {worst:.1e} of max, images rms {row['images_rms_error']:.2e}"
        )
    for name, ratio in result["speed_up"].items():
        shown = "not measured" if ratio is None else f"{ratio:.2f}"
        lines.append(f"speed-up over official, best batch each: {name} {shown}")
    return "\n".join(lines)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line; --smoke replaces the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="edm-cifar10-32x32-cond-vp", choices=sorted(RELEASED))
    parser.add_argument("--weights", type=Path, help="safetensors file instead of random weights")
    parser.add_argument("--description", type=Path, help="JSON file that belongs to --weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument(
        "--switch-batch", type=int, default=512, help="batch of the single switches"
    )
    parser.add_argument("--accuracy-batch", type=int, default=64)
    parser.add_argument(
        "--learning-batch", type=int, default=256, help="trajectories per iteration"
    )
    parser.add_argument("--learning-iterations", type=int, default=20, help="measured iterations")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=1.0, help="seconds per measurement")
    parser.add_argument("--skip", nargs="*", default=[], help="variants to leave out")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, any machine")
    parser.add_argument("--out", type=Path, help="JSON file, default benchmarks/results/...")
    arguments = parser.parse_args(argv)
    if arguments.smoke:
        arguments.steps, arguments.batch_sizes, arguments.switch_batch = 3, [2], 2
        arguments.accuracy_batch, arguments.repeats, arguments.at_least = 2, 1, 0.0
        arguments.learning_batch, arguments.learning_iterations = 8, 3
    if bool(arguments.weights) != bool(arguments.description):
        parser.error("--weights and --description go together")
    if arguments.out is None:
        name = "smoke" if arguments.smoke else f"{arguments.network}-{arguments.device}"
        arguments.out = Path(__file__).parent / "results" / f"edm_throughput-{name}.json"
    return arguments


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, write the JSON file, print the table."""
    arguments = parse(argv)
    result = run(arguments)
    write_json(arguments.out, result)
    print(report(result))
    print(f"written to {arguments.out}")
    return result


if __name__ == "__main__":
    main()
