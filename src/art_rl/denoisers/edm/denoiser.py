"""An EDM network behind the Denoiser protocol, and the settings that make it fast."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from art_rl.denoisers.checks import check_call
from art_rl.denoisers.edm.layers import Conv2d, UNetBlock
from art_rl.denoisers.edm.preconditioning import Preconditioned
from art_rl.errors import ArtRLError


class EDMDenoiser:
    """A preconditioned network behind the Denoiser protocol.

    Attributes:
        shape: (C, H, W).
        sigma_data, sigma_min, sigma_max: see Preconditioned.
        label_dim: classes, 0 for unconditional.
        digest: SHA-256 of class, arguments and weights file (the compute dtype does not enter).
        net: the module.

    Calling: x (B, C, H, W) of any float dtype, sigma () or (B,), class_labels (B, label_dim) if the
    network has classes, else None (`art_rl.denoisers.checks`); returns float32 (B, C, H, W).  The
    arithmetic around the network is float32, its trunk float32, bfloat16 or float16 as set by
    ``optimise``.
    """

    def __init__(self, net: Preconditioned, digest: str) -> None:
        self.net = net.eval().requires_grad_(False)
        self.digest = digest
        self.shape = (net.img_channels, net.img_resolution, net.img_resolution)
        self.sigma_data = net.sigma_data
        self.sigma_min, self.sigma_max = net.sigma_min, net.sigma_max
        self.label_dim = net.label_dim
        self._forward: Callable[..., Tensor] = net

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise level the network was trained on."""
        return self.net.round_sigma(sigma)

    def __call__(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """D(x; sigma), float32, shaped like x; see the class."""
        check_call(x, sigma, class_labels, self.shape, self.label_dim)
        sigma = torch.as_tensor(sigma, device=x.device)
        return self._forward(x, sigma, class_labels)


def optimise(
    denoiser: EDMDenoiser,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    fused_attention: bool = False,
    compile: bool | str = False,
    cuda_graphs: bool = False,
) -> EDMDenoiser:
    """Set how the network computes; returns the same denoiser.

    Args:
        dtype: of the U-Net's trunk (convolutions, normalisations): float32, bfloat16 or float16.
            The embedding of noise level and labels and all preconditioning stay float32.  Going back
            from a smaller dtype to float32 does not restore the lost digits: load again.
        channels_last: memory layout NHWC; forward-mode differentiation then fails (PyTorch's rule for
            group normalisation wants NCHW).  Without ``compile`` it can be slower on CUDA.
        fused_attention: PyTorch's fused kernel; forward-mode differentiation then fails.
        compile: torch.compile, True or the name of a backend (the first call takes a minute or more;
            one compilation per batch size).
        cuda_graphs: replay a recorded CUDA graph per batch shape; CUDA only, no gradients.
    """
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ArtRLError(f"dtype must be float32, bfloat16 or float16, got {dtype}")
    net = denoiser.net
    device = next(net.parameters()).device
    if cuda_graphs and device.type != "cuda":
        raise ArtRLError(f"cuda_graphs needs a CUDA device, the network is on {device}")
    net.compute_dtype = dtype
    for module in net.model.modules():
        if isinstance(module, Conv2d | nn.GroupNorm):
            module.to(dtype)
        if isinstance(module, UNetBlock):
            module.fused_attention = fused_attention
    if channels_last:
        net.to(memory_format=torch.channels_last)
    forward: Callable[..., Tensor] = net
    if compile:
        backend = "inductor" if compile is True else compile
        forward = torch.compile(net, backend=backend, dynamic=False)
    if channels_last:
        inner = forward

        def forward(x: Tensor, *arguments: Any) -> Tensor:
            return inner(x.contiguous(memory_format=torch.channels_last), *arguments)

    denoiser._forward = GraphReplay(forward) if cuda_graphs else forward
    return denoiser


class GraphReplay:
    """Records one CUDA graph of ``function(x, sigma, labels)`` per input shape and replays it."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.recorded: dict[Any, tuple] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        """The function's answer; the first call of a shape records its graph."""
        sigma = sigma.to(torch.float32).expand(len(x))
        inputs = [x.to(torch.float32), sigma, class_labels]
        key = (x.shape, class_labels is None)
        if key not in self.recorded:
            self.recorded[key] = self._record(inputs)
        graph, static, output = self.recorded[key]
        for target, value in zip(static, inputs, strict=True):
            if target is not None:
                target.copy_(value)
        graph.replay()
        return output.clone()

    def _record(self, inputs: list[Tensor | None]) -> tuple:
        static = [None if value is None else value.clone() for value in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(
            stream
        ):  # warm up: compilation and library set-up cannot be recorded
            for _ in range(3):
                self.function(*static)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.empty_cache()  # a graph has its own memory: give back what the warm-up holds
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.function(*static)
        return graph, static, output
