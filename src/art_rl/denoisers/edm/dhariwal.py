"""DhariwalUNet: the ADM architecture of Dhariwal and Nichol 2021, as EDM trains it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from art_rl.denoisers.edm.layers import (
    Conv2d,
    PositionalEmbedding,
    UNetBlock,
    group_norm,
    zero_weight,
)

EPS = 1e-5
CHANNELS_PER_HEAD = 64


class DhariwalUNet(nn.Module):
    """U-Net F(x, c_noise, labels).

    Args:
        img_resolution: side of the (square) images in pixels.
        in_channels, out_channels: colour channels.
        label_dim: classes, 0 for unconditional.
        augment_dim: size of the augmentation labels, 0 for none.
        model_channels: base channels.
        channel_mult: multiplier of the base channels per resolution.
        channel_mult_emb: multiplier for the embedding.
        num_blocks: residual blocks per resolution.
        attn_resolutions: resolutions with self-attention, one head per 64 channels.
        dropout: probability, in training only.
        label_dropout: kept for the official constructor; this project never trains with it.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_dim = label_dim
        emb_channels = model_channels * channel_mult_emb
        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        self.map_augment = (
            nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        )
        self.map_layer0 = nn.Linear(model_channels, emb_channels)
        self.map_layer1 = nn.Linear(emb_channels, emb_channels)
        self.map_label = nn.Linear(label_dim, emb_channels, bias=False) if label_dim else None

        def block(in_channels: int, out_channels: int, attend: bool = False, **kwargs) -> UNetBlock:
            heads = out_channels // CHANNELS_PER_HEAD if attend else 0
            return UNetBlock(
                in_channels,
                out_channels,
                emb_channels,
                heads=heads,
                dropout=dropout,
                eps=EPS,
                **kwargs,
            )

        self.enc = nn.ModuleDict()
        channels = in_channels
        skips = []
        for level, mult in enumerate(channel_mult):
            res = img_resolution >> level
            name = f"{res}x{res}"
            if level == 0:
                self.enc[f"{name}_conv"] = Conv2d(channels, model_channels * mult, 3)
                channels = model_channels * mult
            else:
                self.enc[f"{name}_down"] = block(channels, channels, down=True)
            skips.append(channels)
            for index in range(num_blocks):
                self.enc[f"{name}_block{index}"] = block(
                    channels, model_channels * mult, res in attn_resolutions
                )
                channels = model_channels * mult
                skips.append(channels)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(list(enumerate(channel_mult))):
            res = img_resolution >> level
            name = f"{res}x{res}"
            if level == len(channel_mult) - 1:
                self.dec[f"{name}_in0"] = block(channels, channels, True)
                self.dec[f"{name}_in1"] = block(channels, channels)
            else:
                self.dec[f"{name}_up"] = block(channels, channels, up=True)
            for index in range(num_blocks + 1):
                self.dec[f"{name}_block{index}"] = block(
                    channels + skips.pop(), model_channels * mult, res in attn_resolutions
                )
                channels = model_channels * mult
        self.out_norm = group_norm(channels, EPS)
        self.out_conv = zero_weight(Conv2d(channels, out_channels, 3))

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

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """x (B, in_channels, H, W), c_noise (B,), labels (B, label_dim); (B, out_channels, H, W)."""
        emb = self.embed(c_noise, class_labels, augment_labels)
        skips = []
        for module in self.enc.values():
            x = module(x, emb) if isinstance(module, UNetBlock) else module(x)
            skips.append(x)
        for module in self.dec.values():
            if x.shape[1] != module.in_channels:
                x = torch.cat([x, skips.pop()], dim=1)
            x = module(x, emb)
        return self.out_conv(F.silu(self.out_norm(x)))
