"""From safetensors + JSON to a denoiser; names and shapes must agree exactly."""

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from art_rl.checks import check_one_of
from art_rl.denoisers.edm.arguments import check_arguments, is_number
from art_rl.denoisers.edm.denoiser import EDMDenoiser, optimise
from art_rl.denoisers.edm.layers import Conv2d
from art_rl.denoisers.edm.preconditioning import PRECONDITIONINGS, Preconditioned
from art_rl.denoisers.snapshots.snapshot import FORMAT, FORMAT_VERSION
from art_rl.errors import ArtRLError
from art_rl.files import digest, fault_of_file, read_json, sha256_file


def build_network(class_name: str, kwargs: Mapping[str, Any]) -> Preconditioned:
    """An untrained network of an official class; arguments not in ``kwargs`` take the official defaults.

    Classes: ``EDMPrecond``, ``VPPrecond``, ``VEPrecond``, ``iDDPMPrecond``.

    Raises:
        ArtRLError: unknown class, unknown or missing argument, or a value no network can have.
    """
    check_one_of("network class", class_name, PRECONDITIONINGS)
    kwargs = {
        key: float(value) if value in ("inf", "-inf") else value for key, value in kwargs.items()
    }
    check_arguments(class_name, kwargs)
    try:
        net = PRECONDITIONINGS[class_name](**kwargs)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        fault = " ".join(str(error).split())[:300]
        raise ArtRLError(f"arguments of {class_name} do not fit: {fault}") from None
    if not 0 <= net.sigma_min < net.sigma_max:
        raise ArtRLError(
            f"arguments of {class_name} do not fit: its levels would reach from {net.sigma_min} to "
            f"{net.sigma_max}"
        )
    return net


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
        description: JSON file: class, arguments, sigma limits, digest of the weights file.
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
        foreign = fault_of_file(weights)
        if foreign is not None:
            raise ArtRLError(f"{weights}: {foreign}")
        if found != value["weights_sha256"]:
            raise ArtRLError(
                f"{weights}: its SHA-256 is {found}, but {description} describes "
                f"{value['weights_sha256']}; convert the snapshot again"
            )
        tensors = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in load_file(weights).items()
        }
    except (SafetensorError, OSError) as error:
        reason = f"not a safetensors file, damaged? ({error})"
        raise ArtRLError(f"{weights}: {fault_of_file(weights) or reason}") from None
    with torch.device("meta"):
        net = build_network(value["class"], value["kwargs"])
    load_weights(net, tensors, weights)
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
        stated = float(stated) if is_number(stated) or stated == "inf" else math.nan
        # VP's sigma_min is a float32 cancellation (steps of 6 %), so devices may disagree on it.
        tolerance = 0.1 if value["class"] == "VPPrecond" and name == "sigma_min" else 1e-5
        if not math.isclose(own, stated, rel_tol=tolerance):
            raise ArtRLError(
                f"{description}: {name} is {value['limits'][name]!r}, but {value['class']} with these "
                f"arguments has {own}"
            )
        setattr(denoiser, name, stated)
