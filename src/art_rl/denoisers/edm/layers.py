"""Building blocks of the EDM networks: resampling convolutions, embeddings, attention, residual block.

Parameter and buffer names are those of the official checkpoints.  A residual block computes

    h = conv0(silu(norm0(x)));  h = h + affine(e)  or  norm1(h) * (1 + scale(e)) + shift(e)
    x = s * (skip(x) + conv1(silu(norm1(h))));  x = s * (x + proj(attention(norm2(x))))

with e the embedding of noise level and labels and s = ``skip_scale``.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group normalisation with at most 32 groups of at least 4 channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=eps)


class Conv2d(nn.Module):
    """3x3 or 1x1 convolution with optional factor-2 resampling by a separable filter.

    Args:
        kernel: 3, 1, or 0 for resampling only (no weight).
        up, down: resample by 2 before the convolution.
        resample_filter: taps of the filter, normalised here, e.g. (1, 1) or (1, 3, 3, 1).
        fused: with ``down``: convolve at full resolution first, then filter with stride 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        resample_filter: Sequence[float] = (1, 1),
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.up, self.down, self.fused = up, down, fused
        self.taps = tuple(resample_filter)
        # Averaging a 2x2 patch and repeating a pixel need no depthwise convolution.
        self.box = self.taps == (1, 1)
        self.weight = self.bias = None
        if kernel:
            self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
            self.bias = nn.Parameter(torch.zeros(out_channels))
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.register_buffer("resample_filter", self.filter_kernel() if up or down else None)

    def filter_kernel(self) -> Tensor:
        """The normalised two-dimensional filter, (1, 1, n, n)."""
        taps = torch.tensor(self.taps, dtype=torch.float32)
        return torch.outer(taps, taps)[None, None] / taps.sum() ** 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W'), H' = 2H, H / 2 or H."""
        pad = 0 if self.weight is None else self.weight.shape[-1] // 2
        filter_pad = (len(self.taps) - 1) // 2
        if self.fused and self.down:
            x = F.conv2d(x, self.weight, padding=pad + filter_pad)
            x = self._filter_down(x, padding=0)
            return x + self.bias[:, None, None]
        if self.up:
            x = self._filter_up(x, filter_pad)
        if self.down:
            x = self._filter_down(x, filter_pad)
        if self.weight is not None:
            x = F.conv2d(x, self.weight, self.bias, padding=pad)
        return x

    def _filter_down(self, x: Tensor, padding: int) -> Tensor:
        if self.box:
            return F.avg_pool2d(x, 2)
        channels = x.shape[1]
        taps = self.resample_filter.to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, taps, groups=channels, stride=2, padding=padding)

    def _filter_up(self, x: Tensor, padding: int) -> Tensor:
        if self.box:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        channels = x.shape[1]
        taps = (4 * self.resample_filter).to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv_transpose2d(x, taps, groups=channels, stride=2, padding=padding)


class PositionalEmbedding(nn.Module):
    """(B,) to (B, channels): cosines, then sines, of x * 10000^(-i / n).

    n is channels/2 - 1 with ``endpoint`` (the last frequency is 1/10000), else channels/2.
    """

    def __init__(self, channels: int, endpoint: bool) -> None:
        super().__init__()
        self.channels, self.endpoint = channels, endpoint

    def forward(self, x: Tensor) -> Tensor:
        """x (B,); (B, channels)."""
        half = self.channels // 2
        position = torch.arange(half, dtype=torch.float32, device=x.device)
        frequency = torch.pow(1 / 10000, position / (half - int(self.endpoint)))
        angle = torch.outer(x, frequency)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """(B,) to (B, channels): cosines, then sines, of 2 pi f x with fixed random frequencies f."""

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, x: Tensor) -> Tensor:
        """x (B,); (B, channels)."""
        angle = torch.outer(x, 2 * math.pi * self.freqs)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def attention(q: Tensor, k: Tensor, v: Tensor, fused: bool) -> Tensor:
    """Softmax attention; q, k, v (B, heads, channels, pixels), result likewise.

    Ordinary tensor operations with float32 weights (every automatic differentiation works), or
    PyTorch's fused kernel (faster and smaller; no forward-mode differentiation).
    """
    if fused:
        # The fused kernels want the channels of a head side by side in memory.
        q, k, v = (part.transpose(2, 3).contiguous() for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
    logits = q.float().transpose(2, 3) @ (k.float() / math.sqrt(k.shape[2]))
    weights = logits.softmax(dim=-1).to(v.dtype)  # (B, heads, queries, keys)
    return v @ weights.transpose(2, 3)


class UNetBlock(nn.Module):
    """Residual block with embedding, optional resampling and self-attention; see the module's docstring.

    Args:
        heads: attention heads, 0 for none.
        up, down: resample by 2 on the way.
        resample_filter: see Conv2d.
        project_skip: with up or down, put a 1x1 convolution on the skip even if channels agree.
        adaptive_scale: the embedding scales and shifts (ADM) instead of only shifting.
        skip_scale: s above.
        eps: of the group normalisations.
        dropout: probability, used in training only.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        *,
        heads: int = 0,
        up: bool = False,
        down: bool = False,
        resample_filter: Sequence[float] = (1, 1),
        project_skip: bool = False,
        adaptive_scale: bool = True,
        skip_scale: float = 1.0,
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.heads, self.adaptive_scale = heads, adaptive_scale
        self.skip_scale, self.dropout = skip_scale, dropout
        self.fused_attention = False
        resample = {"up": up, "down": down, "resample_filter": resample_filter}
        self.norm0 = group_norm(in_channels, eps)
        self.conv0 = Conv2d(in_channels, out_channels, 3, **resample)
        self.affine = nn.Linear(emb_channels, out_channels * (2 if adaptive_scale else 1))
        self.norm1 = group_norm(out_channels, eps)
        self.conv1 = zero_weight(Conv2d(out_channels, out_channels, 3))
        self.skip = None
        if in_channels != out_channels or up or down:
            kernel = 1 if project_skip or in_channels != out_channels else 0
            self.skip = Conv2d(in_channels, out_channels, kernel, **resample)
        if heads:
            self.norm2 = group_norm(out_channels, eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, 1)
            self.proj = zero_weight(Conv2d(out_channels, out_channels, 1))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, in_channels, H, W), emb (B, emb_channels) float32; returns (B, out_channels, H', W')."""
        h = self.conv0(F.silu(self.norm0(x)))
        affine = self.affine(emb)[:, :, None, None].to(h.dtype)
        if self.adaptive_scale:
            scale, shift = affine.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + affine))
        h = self.conv1(F.dropout(h, self.dropout, self.training))
        x = (h + (x if self.skip is None else self.skip(x))) * self.skip_scale
        if self.heads:
            x = (self.proj(self._attend(self.norm2(x))) + x) * self.skip_scale
        return x

    def _attend(self, x: Tensor) -> Tensor:
        # Channel order of qkv: head, channel within the head, then q, k, v.
        parts = self.qkv(x).reshape(len(x), self.heads, -1, 3, x.shape[2] * x.shape[3])
        q, k, v = parts.unbind(dim=3)
        return attention(q, k, v, self.fused_attention).reshape(x.shape)


def zero_weight(conv: Conv2d) -> Conv2d:
    """Zero a convolution before training, so that its branch starts as nothing."""
    nn.init.zeros_(conv.weight)
    return conv
