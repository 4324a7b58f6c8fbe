"""Preconditioned networks D(x; sigma) = c_skip x + c_out F(c_in x, c_noise) (Karras et al. 2022, table 1).

              c_skip                c_out                     c_in                c_noise
    EDM       s_d^2/(s^2+s_d^2)     s s_d/sqrt(s^2+s_d^2)     1/sqrt(s^2+s_d^2)   ln(s)/4
    VP        1                     -s                        1/sqrt(s^2+1)       (M-1) t(s)
    VE        1                     s                         1                   ln(s/2)
    iDDPM     1                     -s                        1/sqrt(s^2+1)       M-1 - index of nearest u

with s = sigma, s_d = sigma_data.  Everything outside F is float32, whatever dtype x has.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from art_rl.checks import check_one_of
from art_rl.denoisers.edm.architectures import DhariwalUNet, SongUNet

MODELS = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}


class Coefficients(NamedTuple):
    """The four preconditioning coefficients, each of sigma's shape."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


class Preconditioned(nn.Module):
    """Base of the four preconditionings.

    Args:
        img_resolution: side of the images in pixels.
        img_channels: colour channels.
        label_dim: classes, 0 for unconditional.
        use_fp16: whether the official code would run F in float16; kept, not acted upon.
        model_type: "SongUNet" or "DhariwalUNet".
        model_kwargs: further arguments of the U-Net.

    Attributes:
        sigma_min, sigma_max: the levels the network was trained for (0 and inf for EDM).
        sigma_data: standard deviation of the data it assumes.
        compute_dtype: dtype of F's trunk; see ``set_compute_dtype``.
    """

    default_model = "DhariwalUNet"
    output_channels_factor = 1

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        model_type: str | None = None,
        **model_kwargs: Any,
    ) -> None:
        super().__init__()
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.label_dim, self.use_fp16 = label_dim, use_fp16
        self.sigma_data = 0.5
        self.compute_dtype = torch.float32
        model_type = model_type or self.default_model
        check_one_of("model_type", model_type, MODELS)
        self.model = MODELS[model_type](
            img_resolution=img_resolution,
            in_channels=img_channels,
            out_channels=img_channels * self.output_channels_factor,
            label_dim=label_dim,
            **model_kwargs,
        )

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """c_skip, c_out, c_in, c_noise at sigma (float32, any shape)."""
        raise NotImplementedError

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest level the network knows; sigma itself unless the levels are a table."""
        return torch.as_tensor(sigma)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """D(x; sigma): x (B, C, H, W), sigma () or (B,), labels (B, label_dim); float32 (B, C, H, W).

        Without labels a conditional network is given a row of zeros.
        """
        x = x.to(torch.float32)
        sigma = torch.as_tensor(sigma, device=x.device).to(torch.float32).expand(len(x))
        if self.label_dim == 0:
            class_labels = None
        elif class_labels is None:
            class_labels = torch.zeros(1, self.label_dim, device=x.device)
        else:
            class_labels = class_labels.to(device=x.device, dtype=torch.float32)
            class_labels = class_labels.reshape(-1, self.label_dim)
        c = self.coefficients(sigma)
        c_skip, c_out, c_in = (value.reshape(-1, 1, 1, 1) for value in c[:3])
        inner = (c_in * x).to(self.compute_dtype)
        raw = self.model(inner, c.c_noise, class_labels, augment_labels)
        return c_skip * x + c_out * raw[:, : self.img_channels].to(torch.float32)


class EDMPrecond(Preconditioned):
    """The preconditioning of Karras et al. 2022; all ``edm-*`` releases use it."""

    def __init__(
        self,
        *args: Any,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        sigma_data: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)
        self.sigma_data = float(sigma_data)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """c_skip, c_out, c_in, c_noise at sigma (float32, any shape)."""
        variance = sigma**2 + self.sigma_data**2
        return Coefficients(
            self.sigma_data**2 / variance,
            sigma * self.sigma_data / variance.sqrt(),
            1 / variance.sqrt(),
            sigma.log() / 4,
        )


class VPPrecond(Preconditioned):
    """Variance preserving (Song et al. 2021): sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1)."""

    default_model = "SongUNet"

    def __init__(
        self,
        *args: Any,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        M: int = 1000,
        epsilon_t: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.beta_d, self.beta_min, self.M = beta_d, beta_min, M
        self.sigma_min = self._sigma(epsilon_t)
        self.sigma_max = self._sigma(1.0)

    def _sigma(self, t: float) -> float:
        # In float32, as stored in the official files; the cancellation at small t shows.
        time = torch.tensor(t, dtype=torch.float32, device="cpu")
        exponent = 0.5 * self.beta_d * time**2 + self.beta_min * time
        return float((exponent.exp() - 1).sqrt())

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """c_skip, c_out, c_in, c_noise at sigma (float32, any shape)."""
        log_term = (1 + sigma**2).log()
        root = (self.beta_min**2 + 2 * self.beta_d * log_term).sqrt()
        time = (root - self.beta_min) / self.beta_d
        ones = torch.ones_like(sigma)
        return Coefficients(ones, -sigma, 1 / (sigma**2 + 1).sqrt(), (self.M - 1) * time)


class VEPrecond(Preconditioned):
    """Variance exploding (Song et al. 2021)."""

    default_model = "SongUNet"

    def __init__(
        self, *args: Any, sigma_min: float = 0.02, sigma_max: float = 100.0, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """c_skip, c_out, c_in, c_noise at sigma (float32, any shape)."""
        ones = torch.ones_like(sigma)
        return Coefficients(ones, sigma, ones, (0.5 * sigma).log())


class iDDPMPrecond(Preconditioned):  # the official name, which the files carry
    """Improved DDPM (Nichol and Dhariwal 2021): M levels u_0 > u_1 > ... > u_M = 0 in a buffer.

    The network gives 2 x img_channels outputs; the second half (a variance) is not used.
    """

    output_channels_factor = 2

    def __init__(
        self, *args: Any, C_1: float = 0.001, C_2: float = 0.008, M: int = 1000, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.M = M
        table = iddpm_levels(M, C_1, C_2, np.float32)
        self._limits = (float(table[M - 1]), float(table[0]))  # for networks without memory (meta)
        self.register_buffer("u", torch.tensor(table))

    @property
    def sigma_min(self) -> float:
        """Lowest level of the table above 0."""
        return self._limits[0] if self.u.is_meta else float(self.u[self.M - 1])

    @property
    def sigma_max(self) -> float:
        """Highest level of the table."""
        return self._limits[1] if self.u.is_meta else float(self.u[0])

    def nearest(self, sigma: Tensor) -> Tensor:
        """Index into ``u`` of the nearest level, int64 of sigma's shape."""
        distance = (sigma.to(torch.float32)[..., None] - self.u).abs()
        return distance.argmin(dim=-1)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest level of the table."""
        sigma = torch.as_tensor(sigma, device=self.u.device)
        return self.u[self.nearest(sigma)].to(sigma.dtype)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """c_skip, c_out, c_in, c_noise at sigma (float32, any shape)."""
        ones = torch.ones_like(sigma)
        c_noise = self.M - 1 - self.nearest(sigma.detach()).to(torch.float32)
        return Coefficients(ones, -sigma, 1 / (sigma**2 + 1).sqrt(), c_noise)


def iddpm_levels(
    M: int = 1000, C_1: float = 0.001, C_2: float = 0.008, dtype: type = np.float64
) -> np.ndarray:
    """u_0 > ... > u_M = 0, (M + 1,) of ``dtype`` (Karras et al. 2022, table 1, iDDPM column).

    u_{j-1} = sqrt((u_j^2 + 1) / max(abar(j-1)/abar(j), C_1) - 1), abar(j) = sin^2(pi j / (2 M (C_2+1))).
    abar is float32 as in the official code: it moves the smallest levels by up to 5e-4 of themselves.
    """
    index = torch.arange(M + 1, dtype=torch.float32, device="cpu")
    abar = (0.5 * math.pi * index / M / (C_2 + 1)).sin().square().numpy()
    ratio = np.maximum(abar[:-1] / abar[1:], np.float32(C_1))
    levels = np.zeros(M + 1, dtype)
    for j in range(M, 0, -1):
        levels[j - 1] = np.sqrt((levels[j] ** 2 + 1) / ratio[j - 1] - 1)
    return levels


PRECONDITIONINGS = {cls.__name__: cls for cls in (EDMPrecond, VPPrecond, VEPrecond, iDDPMPrecond)}
