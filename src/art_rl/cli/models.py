"""MODEL on the command line: to a denoiser."""

import importlib
import inspect
import math
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import torch

from art_rl.denoisers.adapters import wrap
from art_rl.denoisers.base import Denoiser
from art_rl.denoisers.exact import Gaussian
from art_rl.errors import ArtRLError
from art_rl.files import read_json


def model_from(text: str, shape: list[int] | None = None) -> Denoiser:
    """The denoiser that MODEL names.

    Args:
        text: a folder, "package.module:name", "gaussian:std[:dim]", or a .safetensors file.
        shape: of one sample, for models that do not say it.

    Raises:
        ArtRLError: nothing of that name, or it is no model.
    """
    path = Path(text)
    if text.startswith("gaussian:"):
        return _gaussian(text)
    if path.is_dir():
        return _diffusers(path, shape)
    if text.endswith(".safetensors"):
        from art_rl.denoisers.unet import load_model

        return load_model(path)
    if ":" in text and os.sep + ":" not in text:
        return _named(text, shape)
    if path.exists():
        raise ArtRLError(f"{text}: not a diffusers folder, nor a .safetensors file of this project")
    raise ArtRLError(
        f"MODEL {text!r} is neither a folder nor a file, nor package.module:name, nor gaussian:std"
    )


def _gaussian(text: str) -> Denoiser:
    parts = text.split(":")[1:]
    try:
        std, dim = float(parts[0]), int(parts[1]) if len(parts) > 1 else 1
        if len(parts) > 2 or not (math.isfinite(std) and std > 0) or dim < 1:
            raise ValueError
    except ValueError:
        raise ArtRLError(
            f"gaussian:std[:dim] needs a positive number and a whole one, got {text!r}"
        ) from None
    return Gaussian(std, dim)


def _named(text: str, shape: list[int] | None) -> Denoiser:
    # Modules beside the caller are meant, as with python -m.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = pkgutil.resolve_name(text)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArtRLError(f"{text}: cannot be imported ({type(error).__name__}: {error})") from None
    if callable(found) and not isinstance(found, torch.nn.Module) and _takes_nothing(found):
        found = found()
    known = all(
        hasattr(type(found), n) or n in getattr(found, "__dict__", {}) for n in ("shape", "digest")
    )
    return found if known else wrap(found, shape=shape)


def _takes_nothing(function: Any) -> bool:
    if hasattr(function, "sigma_data"):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )


def _diffusers(folder: Path, shape: list[int] | None) -> Denoiser:
    network = next(
        (n for n in ("unet", "transformer") if (folder / n / "config.json").is_file()), None
    )
    if network is None or not (folder / "scheduler" / "scheduler_config.json").is_file():
        raise ArtRLError(
            f"{folder}: a diffusers folder holds scheduler/scheduler_config.json and unet/config.json "
            "(or transformer/config.json)"
        )
    try:
        library = importlib.import_module("diffusers")
    except ImportError as error:
        raise ArtRLError(
            f"{folder}: diffusers is needed and cannot be imported ({error}); pip install 'art_rl[interop]'"
        ) from None
    parts = []
    for part, config in ((network, "config.json"), ("scheduler", "scheduler_config.json")):
        name = read_json(folder / part / config).get("_class_name", "")
        kind = getattr(library, name, None) if isinstance(name, str) and name else None
        if kind is None:
            raise ArtRLError(f"{folder / part / config}: diffusers has no class {name!r}")
        parts.append(kind.from_pretrained(folder / part))
    model, scheduler = parts
    if model.config.get("cross_attention_dim") or model.config.get("num_class_embeds"):
        raise ArtRLError(
            f"{folder}: {type(model).__name__} is conditional; wrap it in a module of yours "
            "(art_rl.wrap(unet, scheduler=..., encoder_hidden_states=...)) and give package.module:name"
        )
    return wrap(model.eval(), scheduler=scheduler, shape=shape)
