"""A compact U-Net with EDM preconditioning, and its files.

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)             (Karras et al. 2022, eq. 7, Table 1)
    c_skip = sd^2 / (sigma^2 + sd^2),  c_out = sigma sd / sqrt(sigma^2 + sd^2),
    c_in = 1 / sqrt(sigma^2 + sd^2),   c_noise = ln(sigma) / 4,   sd = sigma_data

F: residual blocks (normalise, SiLU, 3x3 convolution, twice) at a few resolutions, one attention layer
at the lowest, noise level by scale and shift.  Only plain tensor operations, so reverse- and
forward-mode differentiation and torch.func transforms work.
"""

import itertools
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from art_rl.denoisers.base import expand_sigma
from art_rl.denoisers.checks import check_call
from art_rl.denoisers.weights import load_weights
from art_rl.errors import ArtRLError
from art_rl.files import atomic_path, digest, read_json, write_json
from art_rl.schedules.profile import EDM_NOISE
from art_rl.settings.networks import UNetConfig

FORMAT = "art_rl.unet"
FORMAT_VERSION = 1


def _zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(.))) twice, the second normalisation scaled and shifted by the noise level."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm0 = nn.GroupNorm(8, inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * outputs)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        _zero(self.conv1)  # every block starts as its skip connection

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, outputs, H, W) from x (B, inputs, H, W) and embedding (B or 1, embedding)."""
        y = self.conv0(functional.silu(self.norm0(x)))
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, dim=1)
        y = self.norm1(y) * (1 + scale) + shift
        return self.skip(x) + self.conv1(functional.silu(y))


class ResidualBlocks(nn.Module):
    """``config.blocks`` residual blocks at one level; the first one changes the width."""

    def __init__(self, inputs: int, outputs: int, config: "UNetConfig") -> None:
        super().__init__()
        widths = [inputs] + [outputs] * config.blocks
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b, config.embedding) for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, inputs, H, W) through the blocks one after the other; (B, outputs, H, W)."""
        for block in self.blocks:
            x = block(x, embedding)
        return x


class Attention(nn.Module):
    """x + projected single-head self-attention over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        _zero(self.project)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, H, W) plus what its H W positions attend to."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # (B, C, H W) each
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(x.shape[1]), dim=-1)
        mixed = (v @ weights.transpose(1, 2)).reshape(x.shape)
        return x + self.project(mixed)


class UNet(nn.Module):
    """F: (B, C, H, W), c_noise () or (B,), labels None or (B, label_dim) -> (B, C, H, W)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.channels[0], config.embedding
        pixels = config.shape[0] * config.patch**2
        self.embed0 = nn.Linear(embedding, embedding)
        self.embed1 = nn.Linear(embedding, embedding)
        self.embed_label = (
            nn.Linear(config.label_dim, embedding, bias=False) if config.label_dim else None
        )
        self.enter = nn.Conv2d(pixels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for outputs in config.channels:
            self.down.append(ResidualBlocks(width, outputs, config))
            width = outputs
        self.attention = Attention(width) if config.attention else nn.Identity()
        self.middle = ResidualBlock(width, width, embedding)
        for outputs in reversed(config.channels):
            self.up.append(ResidualBlocks(width + outputs, outputs, config))
            width = outputs
        self.norm = nn.GroupNorm(8, width)
        self.leave = nn.Conv2d(width, pixels, 3, padding=1)
        _zero(self.leave)

    def embed(self, c_noise: Tensor, class_labels: Tensor | None) -> Tensor:
        """(B or 1, embedding); a shared noise level is embedded once."""
        half = self.config.embedding // 2
        # c_noise covers about [-1.6, 1.1]: periods from 20 down to 0.2 resolve it.
        rates = torch.linspace(math.log(0.3), math.log(30.0), half, device=c_noise.device).exp()
        angles = c_noise.reshape(-1, 1) * rates
        e = functional.silu(self.embed0(torch.cat([angles.sin(), angles.cos()], dim=1)))
        if self.embed_label is not None and class_labels is not None:
            e = e + self.embed_label(class_labels.to(e.dtype) * math.sqrt(self.config.label_dim))
        return functional.silu(self.embed1(e))

    def forward(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """F: inputs x (B, C, H, W) and c_noise () or (B,); (B, C, H, W)."""
        embedding = self.embed(c_noise, class_labels)
        x = self.enter(functional.pixel_unshuffle(x, self.config.patch))
        kept = []
        for level, blocks in enumerate(self.down):
            x = blocks(functional.avg_pool2d(x, 2) if level else x, embedding)
            kept.append(x)
        x = self.middle(self.attention(x), embedding)
        for level, blocks in enumerate(self.up):
            if level:
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = blocks(torch.cat([x, kept.pop()], dim=1), embedding)
        x = self.leave(functional.silu(self.norm(x)))
        return functional.pixel_shuffle(x, self.config.patch)


class UNetDenoiser(nn.Module):
    """EDM-preconditioned U-Net; meets art_rl.denoisers.base.Denoiser.

    Args:
        config: size of the network.
        sigma_data: standard deviation of the data, > 0.

    Calling takes x (B, C, H, W) in any float dtype, sigma () or (B,) > 0 and class_labels (B, label_dim)
    if the network has classes, else None (`art_rl.denoisers.checks`).  It computes in float32 (the
    network itself in bfloat16 under autocast) and returns float32.

    ``trained_noise`` is (P_mean, P_std) of ln sigma in training, by which |Q| is trusted: set by `train`,
    kept by `save_model` in the record of the training, read by `load_model`.
    """

    def __init__(self, config: UNetConfig, sigma_data: float) -> None:
        super().__init__()
        if not (math.isfinite(sigma_data) and sigma_data > 0):
            raise ArtRLError(f"sigma_data must be positive and finite, got {sigma_data}")
        self.net = UNet(config)
        self.config = config
        self.shape = config.shape
        self.label_dim = config.label_dim
        self.sigma_data = float(sigma_data)
        self.trained_noise = EDM_NOISE

    @property
    def digest(self) -> str:
        """SHA-256 over the weights and the configuration."""
        return _digest(self.config, self.sigma_data, save(_plain_state(self)))

    def forward(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """D(x; sigma), float32 (B, C, H, W); see the class."""
        check_call(x, sigma, class_labels, self.shape, self.label_dim)
        x = x.to(torch.float32)
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        wide = expand_sigma(sigma, x)
        total = wide**2 + self.sigma_data**2
        c_in = torch.rsqrt(total)
        inner = self.net(c_in * x, torch.log(sigma) / 4, class_labels).to(torch.float32)
        return self.sigma_data**2 / total * x + wide * self.sigma_data * c_in * inner


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _plain_state(model: UNetDenoiser) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", torch.float32).contiguous()
        for name, value in sorted(model.state_dict().items())
    }


def _digest(config: UNetConfig, sigma_data: float, weights: bytes) -> str:
    import hashlib

    header = {"format": FORMAT, "config": config.to_dict(), "sigma_data": sigma_data}
    return digest([header, hashlib.sha256(weights).hexdigest()])


def save_model(
    path: str | os.PathLike, model: UNetDenoiser, training: dict[str, Any] | None = None
) -> str:
    """Write ``<name>.safetensors`` (weights, float32) and ``<name>.json`` (everything else) beside it.

    Args:
        path: ends in .safetensors.
        training: JSON-like record of how it was trained, kept for provenance.

    Returns:
        The model's digest.
    """
    path = _weights_path(path)
    weights = save(_plain_state(model))
    model_digest = _digest(model.config, model.sigma_data, weights)
    with atomic_path(path) as temporary:
        temporary.write_bytes(weights)
    write_json(
        path.with_suffix(".json"),
        {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "config": model.config.to_dict(),
            "sigma_data": model.sigma_data,
            "parameters": parameter_count(model),
            "digest": model_digest,
            "training": training or {},
        },
    )
    return model_digest


def load_model(path: str | os.PathLike, device: torch.device | str = "cpu") -> UNetDenoiser:
    """Read what ``save_model`` wrote; evaluation mode, no gradients for the weights.

    Raises:
        ArtRLError: a file is missing or damaged, weights and JSON do not belong together, a tensor is
            missing or has another shape.
    """
    path = _weights_path(path)
    header = read_json(path.with_suffix(".json"))
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (
        FORMAT,
        FORMAT_VERSION,
    ):
        raise ArtRLError(
            f"{path.with_suffix('.json')}: not a {FORMAT} file of version {FORMAT_VERSION}"
        )
    training = header.get("training", {})
    training = training.get("settings", {}) if isinstance(training, dict) else None
    if not isinstance(training, dict):
        raise ArtRLError(
            f"{path.with_suffix('.json')}: 'training' must be an object, and its 'settings' too"
        )

    def build() -> UNetDenoiser:
        model = UNetDenoiser(UNetConfig(**header["config"]), header["sigma_data"])
        model.trained_noise = (
            float(training.get("P_mean", EDM_NOISE[0])),
            float(training.get("P_std", EDM_NOISE[1])),
        )
        return model

    return load_weights(path, header, build, device)


def _weights_path(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ArtRLError(f"a model is saved as a .safetensors file, got {path}")
    return path
