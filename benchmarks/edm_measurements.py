"""What edm_throughput.py measures: variants, timing, matrix rates, speed and accuracy of a network."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from art_rl.denoisers.edm import (
    RELEASED,
    EDMDenoiser,
    build_network,
    load_network,
    optimise,
)
from art_rl.flow.seeds import SeedNoise, one_hot, to_uint8
from art_rl.flow.solvers import nfe
from art_rl.sampling.official import edm_sample

SMOKE_NETWORK = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 10,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}
SIGMAS = (0.002, 0.05, 0.5, 3.0, 80.0)
PAPER = Path(__file__).parents[1] / "config/paper.yaml"


@dataclass(frozen=True)
class Variant:
    """Settings of one measurement: arguments of ``optimise`` and global flags."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    cudnn_benchmark: bool = False
    all_batches: bool = False
    needs_cuda: bool = False

    @property
    def dtype(self) -> torch.dtype:
        return self.options.get("dtype", torch.float32)


def configured_speed() -> dict[str, Any]:
    """``speed`` of CIFAR-10 in config/paper.yaml: what a run samples with, and its plan needs."""
    return yaml.safe_load(PAPER.read_text(encoding="utf-8"))["models"]["cifar10"]["speed"]


def configured(graphs: bool) -> Variant:
    """`configured_speed` as a variant; without CUDA there are no CUDA graphs."""
    options = configured_speed()
    options["dtype"] = getattr(torch, options.get("dtype", "float32"))
    options["cuda_graphs"] = graphs and options.get("cuda_graphs", False)
    return Variant("configured", options, all_batches=True)


def variants(compile: bool | str, graphs: bool) -> list[Variant]:
    """Official, as configured, single switches, everything together."""
    together = {
        "channels_last": True,
        "fused_attention": True,
        "compile": compile,
        "cuda_graphs": graphs,
    }
    return [
        Variant("official", all_batches=True),
        configured(graphs),
        Variant("channels_last", {"channels_last": True}),
        Variant("fused_attention", {"fused_attention": True}),
        Variant("bf16", {"dtype": torch.bfloat16}),
        Variant("fp16", {"dtype": torch.float16}),
        Variant("compile", {"compile": compile}),
        Variant("cuda_graphs", {"cuda_graphs": True}, needs_cuda=True),
        Variant("cudnn_benchmark", cudnn_benchmark=True, needs_cuda=True),
        Variant("all_float32", together, cudnn_benchmark=True),
        Variant("all_bf16", {**together, "dtype": torch.bfloat16}, True, all_batches=True),
        Variant("all_fp16", {**together, "dtype": torch.float16}, True, all_batches=True),
    ]


def randomise(net: nn.Module, seed: int) -> None:
    """Random weights of variance 1/fan_in, also where training would start from zero; biases zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(values * parameter[0].numel() ** -0.5)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    for name, buffer in net.named_buffers():
        if name.endswith("freqs"):
            buffer.copy_(16 * torch.randn(buffer.shape, generator=generator))


@contextmanager
def flags(cudnn_benchmark: bool, tf32: bool = True) -> Iterator[None]:
    """Set cuDNN's autotuning and TF32 in convolutions, and restore them."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = cudnn_benchmark, tf32
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before


def seconds(run: Callable[[], Any], device: torch.device, repeats: int, at_least: float) -> float:
    """Median wall-clock seconds of ``run`` after two warm-up runs."""

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once(), once()
    times = [once() for _ in range(repeats)]
    while sum(times) < at_least:
        times.append(once())
    return statistics.median(times)


def matrix_rates(device: torch.device, n: int) -> dict[str, float]:
    """Measured FLOP/s of an n x n matrix product per number format."""
    rates = {}
    formats = {
        "float32": torch.float32,
        "tf32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
    }
    before = torch.backends.cuda.matmul.allow_tf32
    for name, dtype in formats.items():
        if name == "tf32" and device.type != "cuda":
            continue
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a = torch.randn(n, n, device=device).to(dtype)
        b = torch.randn(n, n, device=device).to(dtype)
        rates[name] = 2 * n**3 / seconds(lambda a=a, b=b: a @ b, device, 10, 0.2)
    torch.backends.cuda.matmul.allow_tf32 = before
    return rates


class Benchmark:
    """One network on one device; see the module's docstring."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device(arguments.device)
        self.K = arguments.steps
        net = self.fresh().net
        self.name = "smoke" if arguments.smoke else arguments.network
        self.parameters = sum(parameter.numel() for parameter in net.parameters())
        self.flops = self.count_flops()

    def fresh(self) -> EDMDenoiser:
        """The network with plain settings; the same weights every time."""
        if self.arguments.weights:
            return load_network(
                self.arguments.weights, self.arguments.description, device=self.device
            )
        smoke = self.arguments.smoke
        kwargs = SMOKE_NETWORK if smoke else RELEASED[self.arguments.network].kwargs
        net = build_network("EDMPrecond", kwargs)
        randomise(net, seed=0)
        return EDMDenoiser(net.to(self.device), digest="random")

    def inputs(self, batch: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(seed)
        denoiser = self.fresh()
        x = torch.randn(batch, *denoiser.shape, generator=generator).to(self.device)
        if not denoiser.label_dim:
            return x, None
        indices = torch.randint(denoiser.label_dim, (batch,), generator=generator)
        return x, one_hot(indices, denoiser.label_dim).to(self.device)

    def count_flops(self) -> int:
        """FLOPs of one call for one image (a multiply-add counts two)."""
        x, labels = self.inputs(1)
        denoiser = self.fresh()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            denoiser(x, torch.tensor(1.0, device=self.device), labels)
        return counter.get_total_flops()

    def prepared(self, variant: Variant) -> EDMDenoiser:
        if variant.options.get("compile"):
            torch.compiler.reset()
        return optimise(self.fresh(), **variant.options)

    def sample(self, denoiser: EDMDenoiser, batch: int, K: int | None = None) -> Tensor:
        noise = SeedNoise(range(batch), denoiser.shape, denoiser.label_dim, self.device)
        return edm_sample(denoiser, noise, K or self.K)

    def speed(self, variant: Variant, batch: int, rates: dict[str, float]) -> dict[str, Any]:
        """One row of the result."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with flags(variant.cudnn_benchmark):
            denoiser = self.prepared(variant)
            took = seconds(
                lambda: to_uint8(self.sample(denoiser, batch)).cpu(),
                self.device,
                self.arguments.repeats,
                self.arguments.at_least,
            )
        achieved = self.flops * batch * nfe("heun", self.K) / took
        unit = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(
            variant.dtype, "tf32" if cuda else "float32"
        )
        return {
            "variant": variant.name,
            "settings": {key: str(value) for key, value in variant.options.items()},
            "cudnn_benchmark": variant.cudnn_benchmark,
            "batch": batch,
            "seconds_per_batch": took,
            "images_per_second": batch / took,
            "flops_per_second": achieved,
            "matrix_rate": unit,
            "share_of_matrix_rate": achieved / rates[unit],
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        }

    def accuracy(self, chosen: list[Variant], batch: int) -> dict[str, Any]:
        """Errors of each variant against float32 without TF32, and of the solver at K steps."""
        x, labels = self.inputs(batch)
        levels = [torch.tensor(sigma, device=self.device) for sigma in SIGMAS]

        def calls(denoiser: EDMDenoiser) -> list[Tensor]:
            return [denoiser(x * (0.25 + s**2).sqrt(), s, labels).double() for s in levels]

        def rms(value: Tensor) -> float:
            return float(value.square().mean().sqrt())

        with torch.no_grad():
            with flags(False, tf32=False):
                exact = self.fresh()
                reference = calls(exact)
                images = self.sample(exact, batch)
                finer = self.sample(exact, batch, 4 * self.K)
            rows = []
            for variant in chosen:
                with flags(variant.cudnn_benchmark):
                    denoiser = self.prepared(variant)
                    found = calls(denoiser)
                    moved = self.sample(denoiser, batch)
                one_call = [
                    float((a - b).abs().max() / b.abs().max())
                    for a, b in zip(found, reference, strict=True)
                ]
                differ = (to_uint8(moved) != to_uint8(images)).double().mean()
                rows.append(
                    {
                        "variant": variant.name,
                        "one_call_max_relative_error": dict(
                            zip(map(str, SIGMAS), one_call, strict=True)
                        ),
                        "images_rms_error": rms(moved - images),
                        "share_of_pixels_changed_in_uint8": float(differ),
                    }
                )
        return {
            "batch": batch,
            "images_rms": rms(images),
            "solver_rms_error": rms(images - finer),
            "variants": rows,
        }
