"""From safetensors + JSON to a denoiser: strict loading, the Denoiser protocol, settings for speed."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from art_rl.checkpoints.snapshot import FORMAT, FORMAT_VERSION
from art_rl.denoisers.edm.layers import Conv2d, UNetBlock
from art_rl.denoisers.edm.preconditioning import PRECONDITIONINGS, Preconditioned
from art_rl.errors import ArtRLError
from art_rl.files import digest, read_json, sha256_file


# Far above every real network; arguments from a file must not ask for endless work or memory.
_LARGEST = {
    "img_resolution": 4096,
    "num_blocks": 64,
    "channel_mult": 16,
    "channel_mult_emb": 64,
    "channel_mult_noise": 64,
    "model_channels": 8192,
    "label_dim": 100_000,
    "augment_dim": 1024,
    "M": 100_000,
}


class EDMDenoiser:
    """A preconditioned network behind the Denoiser protocol.

    Attributes:
        shape: (C, H, W).
        sigma_data, sigma_min, sigma_max: see Preconditioned.
        label_dim: classes, 0 for unconditional.
        digest: SHA-256 of class, arguments and weights file (the compute dtype does not enter).
        net: the module.

    Calling: x (B, C, H, W) of any float dtype, sigma () or (B,), class_labels None or (B, label_dim);
    returns float32 (B, C, H, W).  The arithmetic around the network is float32, its trunk float32,
    bfloat16 or float16 as set by ``optimise``.
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
        sigma = torch.as_tensor(sigma, device=x.device)
        if tuple(x.shape[1:]) != self.shape:
            raise ArtRLError(
                f"x must be (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}"
            )
        if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) != len(x)):
            raise ArtRLError(f"sigma must be () or ({len(x)},), got {tuple(sigma.shape)}")
        if class_labels is not None and tuple(class_labels.shape) != (len(x), self.label_dim):
            raise ArtRLError(
                f"class_labels must be one-hot of shape ({len(x)}, {self.label_dim}), "
                f"got {tuple(class_labels.shape)}; see art_rl.seeds.one_hot"
            )
        return self._forward(x, sigma, class_labels)


def build_network(class_name: str, kwargs: Mapping[str, Any]) -> Preconditioned:
    """An untrained network of an official class, ``EDMPrecond``, ``VPPrecond``, ``VEPrecond`` or
    ``iDDPMPrecond``; arguments not in ``kwargs`` take the official defaults.

    Raises:
        ArtRLError: unknown class, unknown or missing argument.
    """
    if class_name not in PRECONDITIONINGS:
        known = ", ".join(PRECONDITIONINGS)
        raise ArtRLError(f"network class must be one of {known}, got {class_name!r}")
    kwargs = {
        key: float(value) if value in ("inf", "-inf") else value for key, value in kwargs.items()
    }
    for key, largest in _LARGEST.items():
        value = kwargs.get(key, 0)
        size = len(value) if isinstance(value, list | tuple) else value
        if not isinstance(size, int) or not 0 <= size <= largest:
            raise ArtRLError(f"{key} of {class_name} must be at most {largest}, got {value!r:.80}")
    try:
        return PRECONDITIONINGS[class_name](**kwargs)
    except (TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise ArtRLError(f"arguments of {class_name} do not fit: {error}") from None


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], source: object = "weights") -> None:
    """Copy ``weights`` into ``net``; names and shapes must agree exactly.

    Raises:
        ArtRLError: a tensor is missing, not known, of the wrong shape, not floating point, not
            finite, or a resampling filter is not the one the arguments ask for.
    """
    own = net.state_dict()
    for name, target in own.items():
        if name not in weights:
            raise ArtRLError(
                f"{source}: the tensor {name} is missing ({len(weights)} tensors, {len(own)} needed)"
            )
        value = weights[name]
        if value.shape != target.shape:
            raise ArtRLError(
                f"{source}: the tensor {name} must have shape {tuple(target.shape)}, "
                f"got {tuple(value.shape)}"
            )
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise ArtRLError(f"{source}: the tensor {name} must hold finite floating-point numbers")
    for name in weights:
        if name not in own:
            raise ArtRLError(f"{source}: the tensor {name} has no place in the network")
    for name, module in net.named_modules():
        if isinstance(module, Conv2d) and module.resample_filter is not None:
            stored = weights[f"{name}.resample_filter"].to("cpu", torch.float32)
            if not torch.allclose(stored, module.filter_kernel(), atol=1e-6):
                raise ArtRLError(
                    f"{source}: {name}.resample_filter is not the filter {list(module.taps)} of "
                    "the network's arguments"
                )
    # A network built on the meta device has no memory yet: it takes the tensors themselves.
    meta = any(tensor.is_meta for tensor in own.values())
    net.load_state_dict(dict(weights), strict=True, assign=meta)


def load_network(
    weights: str | os.PathLike,
    description: str | os.PathLike,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    **options: bool,
) -> EDMDenoiser:
    """Load what ``convert_snapshot`` wrote.

    Args:
        weights: safetensors file.
        description: JSON file: class, arguments, sigma limits, digest of the weights file.
        device: where the network lives.
        dtype: of the network's trunk; see ``optimise``.
        options: further settings of ``optimise``, all off by default.

    Raises:
        ArtRLError: a file is missing or damaged, the weights file is not the one described, or a
            tensor is missing or has the wrong shape.
    """
    value = read_json(description)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ArtRLError(f"{description}: not a network description (format {FORMAT!r})")
    if value.get("format_version") != FORMAT_VERSION:
        raise ArtRLError(
            f"{description}: format_version must be {FORMAT_VERSION}, got {value.get('format_version')!r}"
        )
    for key, kind in (("class", str), ("kwargs", dict), ("limits", dict), ("weights_sha256", str)):
        if not isinstance(value.get(key), kind):
            raise ArtRLError(f"{description}: {key!r} is missing or not a {kind.__name__}")
    try:
        found = sha256_file(weights)
        if found != value["weights_sha256"]:
            raise ArtRLError(
                f"{weights}: its SHA-256 is {found}, but {description} describes "
                f"{value['weights_sha256']}; convert the snapshot again"
            )
        tensors = load_file(weights)
    except FileNotFoundError:
        raise ArtRLError(f"{weights}: no such file") from None
    except SafetensorError as error:
        raise ArtRLError(f"{weights}: not a safetensors file, damaged? ({error})") from None
    with torch.device("meta"):
        net = build_network(value["class"], value["kwargs"])
    load_weights(net, {name: tensor.float() for name, tensor in tensors.items()}, weights)
    identity = {key: value[key] for key in ("class", "kwargs", "weights_sha256")}
    denoiser = EDMDenoiser(net.to(device), digest(identity))
    _check_limits(denoiser, value, description)
    return optimise(denoiser, dtype=dtype, **options)


def _check_limits(denoiser: EDMDenoiser, value: dict, description: object) -> None:
    """Compare the limits a snapshot states with the network's own; take the stated ones."""
    for name in ("sigma_min", "sigma_max", "sigma_data"):
        stated = value["limits"].get(name)
        if stated is None:
            continue
        own = getattr(denoiser, name)
        stated = float(stated) if isinstance(stated, int | float) or stated == "inf" else math.nan
        # VP's sigma_min is a float32 cancellation: it differs between devices by up to a few per cent.
        if not (own == stated or abs(own - stated) <= 0.05 * abs(own)):
            raise ArtRLError(
                f"{description}: {name} is {value['limits'][name]!r}, but {value['class']} with these "
                f"arguments has {own}"
            )
        setattr(denoiser, name, stated)


def optimise(
    denoiser: EDMDenoiser,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    fused_attention: bool = False,
    compile: bool = False,
    cuda_graphs: bool = False,
) -> EDMDenoiser:
    """Set how the network computes; returns the same denoiser.

    Args:
        dtype: of the U-Net's trunk (convolutions, normalisations): float32, bfloat16 or float16.
            The embedding of noise level and labels and all preconditioning stay float32.  Going back
            from a smaller dtype to float32 does not restore the lost digits: load again.
        channels_last: memory layout NHWC.
        fused_attention: PyTorch's fused kernel; forward-mode differentiation then fails.
        compile: torch.compile (first call takes a minute or more; one compilation per batch size).
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
    forward: Callable[..., Tensor] = torch.compile(net) if compile else net
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
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.function(*static)
        return graph, static, output
