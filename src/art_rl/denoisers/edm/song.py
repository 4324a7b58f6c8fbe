"""SongUNet: the DDPM++ ("vp") and NCSN++ ("ve") architectures of Song et al. 2021, as EDM trains them.

DDPM++: positional embedding, standard encoder, box filter.  NCSN++: Fourier embedding, residual
encoder (a second image pyramid is added into the encoder), filter [1, 3, 3, 1].  Both: standard decoder.
"""

import math
from collections.abc import Sequence

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

EPS = 1e-6


class SongUNet(nn.Module):
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
        attn_resolutions: resolutions with self-attention (one head).
        dropout: probability, in training only.
        label_dropout: kept for the official constructor; this project never trains with it.
        embedding_type: "positional" or "fourier".
        channel_mult_noise: multiplier for the noise embedding.
        encoder_type: "standard", "residual" or "skip".
        decoder_type: "standard" or "skip".
        resample_filter: taps.

    Raises:
        ArtRLError: an unknown type name.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        check_one_of("embedding_type", embedding_type, ("positional", "fourier"))
        check_one_of("encoder_type", encoder_type, ("standard", "residual", "skip"))
        check_one_of("decoder_type", decoder_type, ("standard", "skip"))
        self.label_dim = label_dim
        emb_channels = model_channels * channel_mult_emb
        noise_channels = model_channels * channel_mult_noise
        resample_filter = tuple(resample_filter)

        if embedding_type == "positional":
            self.map_noise = PositionalEmbedding(noise_channels, endpoint=True)
        else:
            self.map_noise = FourierEmbedding(noise_channels)
        self.map_label = nn.Linear(label_dim, noise_channels) if label_dim else None
        self.map_augment = (
            nn.Linear(augment_dim, noise_channels, bias=False) if augment_dim else None
        )
        self.map_layer0 = nn.Linear(noise_channels, emb_channels)
        self.map_layer1 = nn.Linear(emb_channels, emb_channels)

        def block(in_channels: int, out_channels: int, attend: bool = False, **kwargs) -> UNetBlock:
            return UNetBlock(
                in_channels,
                out_channels,
                emb_channels,
                heads=1 if attend else 0,
                resample_filter=resample_filter,
                project_skip=True,
                adaptive_scale=False,
                skip_scale=math.sqrt(0.5),
                eps=EPS,
                dropout=dropout,
                **kwargs,
            )

        self.enc = nn.ModuleDict()
        channels = in_channels
        aux_channels = in_channels
        skips = []
        for level, mult in enumerate(channel_mult):
            res = img_resolution >> level
            name = f"{res}x{res}"
            if level == 0:
                self.enc[f"{name}_conv"] = Conv2d(channels, model_channels, 3)
                channels = model_channels
            else:
                self.enc[f"{name}_down"] = block(channels, channels, down=True)
                down = {"down": True, "resample_filter": resample_filter}
                if encoder_type == "skip":
                    self.enc[f"{name}_aux_down"] = Conv2d(aux_channels, aux_channels, 0, **down)
                    self.enc[f"{name}_aux_skip"] = Conv2d(aux_channels, channels, 1)
                if encoder_type == "residual":
                    self.enc[f"{name}_aux_residual"] = Conv2d(
                        aux_channels, channels, 3, fused=True, **down
                    )
                    aux_channels = channels
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
            lowest = level == len(channel_mult) - 1
            if lowest:
                self.dec[f"{name}_in0"] = block(channels, channels, True)
                self.dec[f"{name}_in1"] = block(channels, channels)
            else:
                self.dec[f"{name}_up"] = block(channels, channels, up=True)
            for index in range(num_blocks + 1):
                attend = index == num_blocks and res in attn_resolutions
                self.dec[f"{name}_block{index}"] = block(
                    channels + skips.pop(), model_channels * mult, attend
                )
                channels = model_channels * mult
            if decoder_type == "skip" or level == 0:
                if decoder_type == "skip" and not lowest:
                    self.dec[f"{name}_aux_up"] = Conv2d(
                        out_channels, out_channels, 0, up=True, resample_filter=resample_filter
                    )
                self.dec[f"{name}_aux_norm"] = group_norm(channels, EPS)
                self.dec[f"{name}_aux_conv"] = zero_weight(Conv2d(channels, out_channels, 3))

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
        aux = x
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
        out = None
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
        return out
