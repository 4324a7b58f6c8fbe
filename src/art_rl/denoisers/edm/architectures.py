"""The two U-Nets that EDM trains, as one encoder and decoder with two sets of blocks.

SongUNet      DDPM++ ("vp") and NCSN++ ("ve") of Song et al. 2021.  DDPM++: positional embedding, standard
              encoder, box filter.  NCSN++: Fourier embedding, residual encoder (a second image pyramid is
              added into the encoder), filter [1, 3, 3, 1].  Both: standard decoder.
DhariwalUNet  ADM of Dhariwal and Nichol 2021.

Names of modules are those of the official files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from art_rl.checks import check_one_of
from art_rl.denoisers.edm.layers import (
    Conv2d,
    FourierEmbedding,
    PositionalEmbedding,
    UNetBlock,
    group_norm,
    zero_weight,
)

CHANNELS_PER_HEAD = 64  # of DhariwalUNet


@dataclass(frozen=True)
class Sizes:
    """Constructor arguments that both networks have.

    Attributes:
        img_resolution: side of the (square) images in pixels.
        in_channels, out_channels: colour channels.
        label_dim: classes, 0 for unconditional.
        augment_dim: size of the augmentation labels, 0 for none.
        model_channels: base channels.
        channel_mult: multiplier of the base channels per resolution.
        channel_mult_emb: multiplier for the embedding.
        num_blocks: residual blocks per resolution.
        attn_resolutions: resolutions with self-attention.
        dropout: probability, in training only.
        label_dropout: kept for the official constructor; this project never trains with it.
    """

    img_resolution: int
    in_channels: int
    out_channels: int
    label_dim: int = 0
    augment_dim: int = 0
    model_channels: int = 128
    channel_mult: Sequence[int] = (1, 2, 2, 2)
    channel_mult_emb: int = 4
    num_blocks: int = 4
    attn_resolutions: Sequence[int] = (16,)
    dropout: float = 0.10
    label_dropout: float = 0.0


class UNet(nn.Module):
    """F(x, c_noise, labels): residual blocks at falling, then at rising resolutions, joined by skips.

    A subclass makes its embedding layers, then `build`s encoder and decoder from its own `block`.
    """

    eps: float  # of the group normalisations
    attends_everywhere = False  # in the decoder; else in the last block of a resolution only

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.label_dim = sizes, sizes.label_dim

    def build(self, first: int) -> int:
        """Make ``enc``, ``first`` channels wide at its start, and ``dec``; the channels of the latter."""
        s, block, last = self.sizes, self.block, len(self.sizes.channel_mult) - 1
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        levels = [
            (level, s.img_resolution >> level, mult * s.model_channels)
            for level, mult in enumerate(s.channel_mult)
        ]
        channels, skips = s.in_channels, []
        for level, res, wide in levels:
            name = f"{res}x{res}"
            if level == 0:
                self.enc[f"{name}_conv"] = Conv2d(channels, first, 3)
                channels = first
            else:
                self.enc[f"{name}_down"] = block(channels, channels, down=True)
                self.beside_encoder(name, channels)
            skips.append(channels)
            for index in range(s.num_blocks):
                attend = res in s.attn_resolutions
                self.enc[f"{name}_block{index}"] = block(channels, wide, attend)
                channels = wide
                skips.append(channels)
        for level, res, wide in reversed(levels):
            name = f"{res}x{res}"
            if level == last:
                self.dec[f"{name}_in0"] = block(channels, channels, True)
                self.dec[f"{name}_in1"] = block(channels, channels)
            else:
                self.dec[f"{name}_up"] = block(channels, channels, up=True)
            for index in range(s.num_blocks + 1):
                here = self.attends_everywhere or index == s.num_blocks
                attend = here and res in s.attn_resolutions
                self.dec[f"{name}_block{index}"] = block(channels + skips.pop(), wide, attend)
                channels = wide
            self.beside_decoder(name, channels, level == 0, level == last)
        return channels

    def block(
        self, in_channels: int, out_channels: int, attend: bool = False, **kw: Any
    ) -> UNetBlock:
        """A residual block of this architecture; ``kw``: up or down."""
        raise NotImplementedError

    def beside_encoder(self, name: str, channels: int) -> None:
        """Add what stands beside a resolution of the encoder."""

    def beside_decoder(self, name: str, channels: int, first: bool, last: bool) -> None:
        """Add what stands beside a resolution of the decoder, the ``first`` or ``last`` of the encoder's."""

    def embed(
        self, c_noise: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """The embedding (B, emb_channels) of c_noise (B,) and the labels, float32."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """x (B, in_channels, H, W), c_noise (B,), labels (B, label_dim); (B, out_channels, H, W)."""
        emb = self.embed(c_noise, class_labels, augment_labels)
        skips, aux, out = [], x, None
        for name, module in self.enc.items():
            if name.endswith("aux_down"):
                aux = module(aux)
            elif name.endswith("aux_skip"):
                x = skips[-1] = x + module(aux)
            elif name.endswith("aux_residual"):
                x = skips[-1] = aux = (x + module(aux)) / math.sqrt(2)
            else:
                x = module(x, emb) if isinstance(module, UNetBlock) else module(x)
                skips.append(x)
        for name, module in self.dec.items():
            if name.endswith("aux_up"):
                out = module(out)
            elif name.endswith("aux_norm"):
                normed = module(x)
            elif name.endswith("aux_conv"):
                image = module(F.silu(normed))
                out = image if out is None else out + image
            else:
                if x.shape[1] != module.in_channels:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = module(x, emb)
        return out if out is not None else self.out_conv(F.silu(self.out_norm(x)))


class SongUNet(UNet):
    """DDPM++ and NCSN++; attention has one head.

    Args:
        embedding_type: "positional" or "fourier".
        channel_mult_noise: multiplier for the noise embedding.
        encoder_type: "standard", "residual" or "skip".
        decoder_type: "standard" or "skip".
        resample_filter: taps.
        sizes: see Sizes.

    Raises:
        ArtRLError: an unknown type name.
    """

    eps = 1e-6

    def __init__(
        self,
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
        **sizes: Any,
    ) -> None:
        s = Sizes(**sizes)
        super().__init__(s)
        check_one_of("embedding_type", embedding_type, ("positional", "fourier"))
        check_one_of("encoder_type", encoder_type, ("standard", "residual", "skip"))
        check_one_of("decoder_type", decoder_type, ("standard", "skip"))
        self.encoder_type, self.decoder_type = encoder_type, decoder_type
        self.resample_filter, self.aux_channels = tuple(resample_filter), s.in_channels
        noise_channels = s.model_channels * channel_mult_noise
        self.emb_channels = s.model_channels * s.channel_mult_emb
        if embedding_type == "positional":
            self.map_noise = PositionalEmbedding(noise_channels, endpoint=True)
        else:
            self.map_noise = FourierEmbedding(noise_channels)
        self.map_label = nn.Linear(s.label_dim, noise_channels) if s.label_dim else None
        self.map_augment = (
            nn.Linear(s.augment_dim, noise_channels, bias=False) if s.augment_dim else None
        )
        self.map_layer0 = nn.Linear(noise_channels, self.emb_channels)
        self.map_layer1 = nn.Linear(self.emb_channels, self.emb_channels)
        self.build(s.model_channels)

    def block(
        self, in_channels: int, out_channels: int, attend: bool = False, **kw: Any
    ) -> UNetBlock:
        """A residual block, its sum scaled by 1/sqrt(2)."""
        return UNetBlock(
            in_channels,
            out_channels,
            self.emb_channels,
            heads=int(attend),
            project_skip=True,
            resample_filter=self.resample_filter,
            adaptive_scale=False,
            skip_scale=math.sqrt(0.5),
            eps=self.eps,
            dropout=self.sizes.dropout,
            **kw,
        )

    def beside_encoder(self, name: str, channels: int) -> None:
        """The second image pyramid, smaller by 2."""
        aux, down = self.aux_channels, {"down": True, "resample_filter": self.resample_filter}
        if self.encoder_type == "skip":
            self.enc[f"{name}_aux_down"] = Conv2d(aux, aux, 0, **down)
            self.enc[f"{name}_aux_skip"] = Conv2d(aux, channels, 1)
        if self.encoder_type == "residual":
            self.enc[f"{name}_aux_residual"] = Conv2d(aux, channels, 3, fused=True, **down)
            self.aux_channels = channels

    def beside_decoder(self, name: str, channels: int, first: bool, last: bool) -> None:
        """The image, at the highest resolution; at each one with the skip decoder."""
        image = self.sizes.out_channels
        if self.decoder_type == "skip" and not last:
            taps = self.resample_filter
            self.dec[f"{name}_aux_up"] = Conv2d(image, image, 0, up=True, resample_filter=taps)
        if self.decoder_type == "skip" or first:
            self.dec[f"{name}_aux_norm"] = group_norm(channels, self.eps)
            self.dec[f"{name}_aux_conv"] = zero_weight(Conv2d(channels, image, 3))

    def embed(
        self, c_noise: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """The embedding (B, emb_channels) of c_noise (B,) and the labels, float32."""
        emb = self.map_noise(c_noise)
        emb = emb.unflatten(1, (2, -1)).flip(1).flatten(1)  # [cos | sin] to [sin | cos]
        if self.map_label is not None:
            emb = emb + self.map_label(class_labels * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))


class DhariwalUNet(UNet):
    """ADM; attention has one head per 64 channels.  Arguments: see Sizes, with defaults of its own."""

    eps, attends_everywhere = 1e-5, True

    def __init__(self, **sizes: Any) -> None:
        own = {"model_channels": 192, "channel_mult": (1, 2, 3, 4), "num_blocks": 3}
        s = Sizes(**{**own, "attn_resolutions": (32, 16, 8), **sizes})
        super().__init__(s)
        noise_channels, self.emb_channels = s.model_channels, s.model_channels * s.channel_mult_emb
        self.map_noise = PositionalEmbedding(noise_channels, endpoint=False)
        self.map_augment = (
            nn.Linear(s.augment_dim, noise_channels, bias=False) if s.augment_dim else None
        )
        self.map_layer0 = nn.Linear(noise_channels, self.emb_channels)
        self.map_layer1 = nn.Linear(self.emb_channels, self.emb_channels)
        self.map_label = (
            nn.Linear(s.label_dim, self.emb_channels, bias=False) if s.label_dim else None
        )
        channels = self.build(s.model_channels * s.channel_mult[0])
        self.out_norm = group_norm(channels, self.eps)
        self.out_conv = zero_weight(Conv2d(channels, s.out_channels, 3))

    def block(
        self, in_channels: int, out_channels: int, attend: bool = False, **kw: Any
    ) -> UNetBlock:
        """A residual block."""
        heads = out_channels // CHANNELS_PER_HEAD if attend else 0
        return UNetBlock(
            in_channels,
            out_channels,
            self.emb_channels,
            heads=heads,
            eps=self.eps,
            dropout=self.sizes.dropout,
            **kw,
        )

    def embed(
        self, c_noise: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """The embedding (B, emb_channels) of c_noise (B,) and the labels, float32."""
        emb = self.map_noise(c_noise)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None:
            emb = emb + self.map_label(class_labels)
        return F.silu(emb)
