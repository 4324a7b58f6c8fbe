"""What a denoiser must get right before a minute is spent on it; each rule is a failure that was seen."""

from typing import Any

import torch
from torch import Tensor

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.schedules.schedule import check_positive_range

# Answers to one level as a number and as a batch may differ by rounding, relative to the answer's size.
_ROUNDING = 1e-3
# Starting states are sigma_max times standard noise (plus data): their spread may be off by this share.
_SPREAD = 0.2


def check_denoiser(denoiser: Any, sigma_max: float, sigma_min: float) -> Denoiser:
    """Return ``denoiser`` if it meets the protocol at sigma_max, in the middle and at sigma_min.

    Checked with 3 samples, 10 calls: attributes; float answers of the input's shape, finite; the same
    answer twice; the same answer to a level as a number and as a batch of equal levels; levels of a
    batch used row by row.

    Raises:
        ArtRLError: the first rule that is broken, with what was received.
    """
    for name in ("shape", "sigma_data", "label_dim", "digest"):
        if not hasattr(type(denoiser), name) and not hasattr(denoiser, name):
            raise ArtRLError(
                f"a denoiser needs the attribute {name!r}, {type(denoiser).__name__} has none: "
                "make one with art_rl.wrap"
            )
    if denoiser.shape is None:
        raise ArtRLError(
            "the shape of one sample is not known: wrap(..., shape=(3, 32, 32)), or give learn x="
        )
    if denoiser.label_dim:
        raise ArtRLError(
            f"the model has {denoiser.label_dim} classes: say which one is meant, "
            f"wrap(model, class_labels=one_hot), a row (1, {denoiser.label_dim})"
        )
    check_positive_range(sigma_min, sigma_max, "a network's range")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *denoiser.shape, dtype=torch.float64, generator=generator)
    noise = noise.to(home(denoiser))
    middle = (sigma_max * sigma_min) ** 0.5
    answers = {}
    for sigma in (sigma_max, middle, sigma_min):
        x = sigma * noise
        level = torch.tensor(sigma, dtype=torch.float64, device=x.device)
        single = _answer(denoiser, x, level, "a level of shape ()")
        # First: a model that is never the same breaks the other rules too.
        repeated = _answer(denoiser, x, level, "a level of shape ()")
        _same(single, repeated, "the same call twice (dropout or other randomness left on?)")
        again = _answer(denoiser, x, level.expand(3), "levels of shape (B,)")
        _same(single, again, f"a level as a number and as a batch, at sigma = {sigma:.6g}")
        answers[sigma] = single
    levels = torch.tensor([sigma_max, middle, sigma_min], dtype=torch.float64, device=noise.device)
    column = levels.reshape(-1, *[1] * (noise.ndim - 1))
    mixed = _answer(denoiser, column * noise, levels, "three levels")
    rows = torch.stack([answers[s][k] for k, s in enumerate((sigma_max, middle, sigma_min))])
    _same(rows, mixed, "a batch of different levels and each level alone")
    return denoiser


def home(denoiser: Any) -> torch.device:
    """Where a denoiser computes: its ``device``, its first parameter's, or the CPU."""
    device = getattr(denoiser, "device", None)
    if device is None and isinstance(denoiser, torch.nn.Module):
        device = next((p.device for p in denoiser.parameters()), None)
    return torch.device(device or "cpu")


def _answer(denoiser: Denoiser, x: Tensor, sigma: Tensor, how: str) -> Tensor:
    try:
        with torch.no_grad():
            answer = denoiser(x, sigma, None)
    except ArtRLError:
        raise
    except Exception as error:
        fault = " ".join(str(error).split())
        raise ArtRLError(
            f"the denoiser fails on x of shape {tuple(x.shape)} {x.dtype} and {how}: "
            f"{type(error).__name__}: {fault:.300}"
        ) from error
    if not isinstance(answer, Tensor) or not answer.dtype.is_floating_point:
        kind = answer.dtype if isinstance(answer, Tensor) else type(answer).__name__
        raise ArtRLError(f"the denoiser must answer with a float tensor, got {kind}")
    if tuple(answer.shape) != tuple(x.shape):
        raise ArtRLError(
            f"the denoiser must answer with x's shape {tuple(x.shape)}, got {tuple(answer.shape)} "
            f"for {how}"
        )
    bad = int((~torch.isfinite(answer)).sum())
    if bad:
        raise ArtRLError(
            f"the denoiser answers with {bad} values that are NaN or infinite at "
            f"sigma = {float(sigma.reshape(-1)[0]):.6g}"
        )
    return answer.double()


def _same(one: Tensor, other: Tensor, what: str) -> None:
    size = float(one.abs().max().clamp_min(1e-6))
    off = float((one - other).abs().max())
    if off > _ROUNDING * size:
        raise ArtRLError(
            f"the denoiser gives different answers for {what}: they differ by {off:.3g}, "
            f"the largest value is {size:.3g}"
        )


def check_start(x: Any, denoiser: Denoiser, sigma_max: float) -> Tensor:
    """Return starting states ``x`` as float64 if they are (B, *shape), finite and of the right size.

    Raises:
        ArtRLError: another shape, fewer than 8 states, not finite, or a standard deviation that is not
            about sigma_max: the states of level sigma_max are sigma_max * noise.
    """
    if not isinstance(x, Tensor) or tuple(x.shape[1:]) != tuple(denoiser.shape) or len(x) < 8:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        sizes = ", ".join(map(str, denoiser.shape))
        raise ArtRLError(f"x must have shape (B, {sizes}) with B >= 8, got {got}")
    x = x.detach().to(device=home(denoiser), dtype=torch.float64)
    if not torch.isfinite(x).all():
        raise ArtRLError(f"x must be finite, {int((~torch.isfinite(x)).sum())} values are not")
    spread = float(x.square().mean().sqrt())
    expected = (sigma_max**2 + (denoiser.sigma_data or 0.0) ** 2) ** 0.5
    # A mean over n normal values is this uncertain by itself.
    slack = _SPREAD + 3 / (2 * x.numel()) ** 0.5
    if abs(spread / expected - 1) > slack:
        raise ArtRLError(
            f"x has a root mean square of {spread:.4g}, states at sigma_max = {sigma_max:.6g} have about "
            f"{expected:.4g}: give sigma_max * noise (sigma = noise over signal, in data units)"
        )
    return x
