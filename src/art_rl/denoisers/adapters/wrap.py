"""`art_rl.wrap`: one line from a model of diffusers, k-diffusion, azula, or any callable, to a denoiser.

The libraries are told by the classes of the objects handed in; none of them is imported.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from art_rl.denoisers.adapters.model import (
    PREDICTIONS,
    WrappedDenoiser,
    edm_formula,
    modules,
)
from art_rl.denoisers.adapters.times import AzulaTime, FlowTime, LogTime, SigmaTime, TableTime
from art_rl.denoisers.base import Denoiser, is_exact, trained_noise
from art_rl.errors import ArtRLError
from art_rl.schedules.closed_form import trained_range

TIMES = ("vp", "flow", "sigma")

# DDPM's table (Ho et al. 2020, section 4): beta from 1e-4 to 0.02 in 1000 steps.
_DDPM = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
# Names diffusers gives to predictions.
_DIFFUSERS = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "sample": "x0",
    "original_sample": "x0",
    "flow_prediction": "flow",
}


def wrap(
    model: Any,
    scheduler: Any = None,
    *,
    prediction: str | None = None,
    time: str | None = None,
    shape: Sequence[int] | None = None,
    table: Any = None,
    time_scale: float = 1.0,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    sigma_data: float | None = None,
    guidance: float | None = None,
    unconditional: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> Denoiser:
    """A denoiser D(x; sigma) from somebody else's model, in one line.

        wrap(unet, scheduler=pipe.scheduler)                # diffusers
        wrap(model)                                         # k-diffusion or azula Denoiser
        wrap(f, prediction="v", time="vp", shape=(1, 8, 8)) # any callable f(x_t, time, **fixed)

    Args:
        model: a diffusers network with ``scheduler``; a k-diffusion denoiser (layers.Denoiser or one of
            the wrappers of external); an azula Denoiser; a denoiser of this package (returned as it
            is, or of one class with ``class_labels=`` (1, label_dim), one-hot); or any callable with
            ``prediction`` and ``time``.
        scheduler: diffusers scheduler: prediction type, table or flow, and range come from it.
        prediction: what a callable returns: "epsilon", "v", "x0", "flow" (noise - data) or "denoised".
        time: how a callable is called: "vp" f(x / sqrt(1 + sigma^2), position in ``table``), "flow"
            f((1 - t) x, time_scale t) with t = sigma / (1 + sigma), or "sigma" f(x, sigma).
        shape: shape of one sample.  diffusers networks know theirs; elsewhere it may be left out if
            `learn` is given ``x``.
        table: alphas_cumprod (N,) for time="vp"; default DDPM's linear table of 1000 steps.
        time_scale: the flow time of pure noise as the model counts it, e.g. 1000.
        sigma_max, sigma_min: range of levels for time="sigma" and k-diffusion models, in units of the
            data; None: unknown (`learn` then takes 80 and 0.002, EDM's).
        sigma_data: standard deviation of the data per coordinate; None: `learn` measures it.
        guidance, unconditional: classifier-free guidance: the answer is u + guidance (c - u), u with the
            arguments of ``unconditional`` in place of those of ``fixed``.  Without ``unconditional``,
            ``guidance`` is one more argument of the model.
        fixed: further arguments of every call (prompt embeddings, class labels, ...); tensors of one
            row are repeated for the batch.

    Returns:
        WrappedDenoiser; in the model's dtype and on its device, without gradients.

    Raises:
        ArtRLError: the conventions cannot be told, or do not fit together.
    """
    if shape is not None:
        shape = _shape(shape)
    if guidance is not None and unconditional is None:
        fixed["guidance"], guidance = guidance, None
    if unconditional is not None and guidance is None:
        raise ArtRLError("unconditional arguments need guidance=, the scale of the difference")
    _check_range(sigma_min, sigma_max, sigma_data)
    _check_training(model)
    common: dict[str, Any] = {"fixed": fixed, "guidance": guidance, "unconditional": unconditional}
    given = {
        "prediction": prediction, "time": time, "table": table,
        "sigma_max": sigma_max, "sigma_min": sigma_min,
    }  # fmt: skip
    if scheduler is not None:
        _refuse(given, "diffusers models take these from the scheduler")
        return _from_diffusers(model, scheduler, shape, sigma_data, common)
    if prediction is None and time is None:
        if _is_a(model, "azula.denoise", "Denoiser"):
            _refuse(given, "azula denoisers take these from their noise schedule")
            return _from_azula(model, shape, sigma_data, common)
        if _comes_from(model, "k_diffusion"):
            return _from_k_diffusion(model, shape, (sigma_min, sigma_max), sigma_data, common)
        if all(hasattr(model, name) for name in ("shape", "sigma_data", "label_dim", "digest")):
            _refuse(
                {**given, "shape": shape, "sigma_data": sigma_data}, "a denoiser says these itself"
            )
            return _of_a_class(model, common) if fixed else model
    if hasattr(model, "unet") and hasattr(model, "scheduler"):
        raise ArtRLError("this is a pipeline: wrap(pipe.unet, scheduler=pipe.scheduler)")
    if prediction not in PREDICTIONS or time not in TIMES:
        raise ArtRLError(
            f"a {type(model).__name__} needs prediction= one of {', '.join(PREDICTIONS)} and time= one "
            f"of {', '.join(TIMES)} (or scheduler= for diffusers), got {prediction!r} and {time!r}"
        )
    if not callable(model):
        raise ArtRLError(f"the model must be callable, got {type(model).__name__}")
    if time != "vp" and table is not None:
        raise ArtRLError(f'a table belongs to time="vp", not to {time!r}')
    if time != "sigma" and (sigma_max is not None or sigma_min is not None):
        raise ArtRLError(f"the range of time={time!r} is known; give it to learn, not to wrap")
    if not (math.isfinite(time_scale) and time_scale > 0):
        raise ArtRLError(f"time_scale must be positive and finite, got {time_scale}")
    clocks: dict[str, Callable[[], Any]] = {
        "vp": lambda: TableTime(_numbers(_DDPM if table is None else table)),
        "flow": lambda: FlowTime(time_scale),
        "sigma": lambda: SigmaTime(_range(sigma_min, sigma_max)),
    }
    clock = clocks[time]()
    return WrappedDenoiser(
        model, PREDICTIONS[prediction], clock, shape=shape, sigma_data=sigma_data,
        digest_of=(prediction, time, _numbers(table) if table is not None else None),
        library="callable", **common,
    )  # fmt: skip


def _from_diffusers(model, scheduler, shape, sigma_data, common) -> WrappedDenoiser:
    config, name = scheduler.config, type(scheduler).__name__
    kind = config.get("prediction_type", "flow_prediction")
    formula = PREDICTIONS.get(_DIFFUSERS.get(kind, ""))
    if name.startswith("EDM"):
        if kind not in ("epsilon", "v_prediction"):
            raise ArtRLError(f"{name}: prediction type {kind!r} is not known here")
        formula = edm_formula(config["sigma_data"], 1.0 if kind == "epsilon" else -1.0)
        # The levels EDM-type models are trained on are the trainer's choice: trust nothing blindly.
        span = (float(config["sigma_min"]), float(config["sigma_max"]))
        clock: TableTime | FlowTime | LogTime = LogTime(config["sigma_data"], span, None)
        sigma_data = float(config["sigma_data"]) if sigma_data is None else sigma_data
    elif name.startswith("FlowMatch") or config.get("use_flow_sigmas", False):
        steps = int(config["num_train_timesteps"])
        formula, clock = PREDICTIONS["flow"], FlowTime(steps, steps)
        if kind != "flow_prediction":
            raise ArtRLError(
                f"{name} uses flow times with prediction type {kind!r}; known here: flow_prediction"
            )
    elif getattr(scheduler, "alphas_cumprod", None) is not None:
        if formula is None:
            raise ArtRLError(
                f"{name}: prediction type {kind!r} is not one of {', '.join(_DIFFUSERS)}"
            )
        clock = TableTime(_numbers(scheduler.alphas_cumprod))
        if config.get("timestep_type") == "continuous" and kind == "v_prediction":
            clock = LogTime(1.0, clock.range, clock.trained)
    else:
        raise ArtRLError(
            f"{name} has neither a table (alphas_cumprod) nor flow times nor EDM's constants; "
            "wrap the network as a callable: prediction=, time=, shape="
        )
    if shape is None:
        shape = _diffusers_shape(model)
    channels = shape[0]
    names = inspect.signature(model.forward if hasattr(model, "forward") else model).parameters

    def call(network: Callable, x: torch.Tensor, t: torch.Tensor, **kwargs: Any) -> Any:
        answer = (
            network(x, timestep=t, **kwargs) if "timestep" in names else network(x, t, **kwargs)
        )
        answer = getattr(answer, "sample", answer)
        answer = answer[0] if isinstance(answer, tuple) else answer
        # A learned variance rides along in the second half of the channels.
        if config.get("variance_type") in ("learned", "learned_range"):
            answer = answer[:, :channels]
        return answer

    return WrappedDenoiser(
        model, formula, clock, shape=shape, sigma_data=sigma_data, digest_of=(kind, name),
        library="diffusers", call=call, scheduler=scheduler, **common,
    )  # fmt: skip


def _diffusers_shape(model: Any) -> tuple[int, ...]:
    config = getattr(model, "config", {})
    channels, size = config.get("in_channels"), config.get("sample_size")
    if channels is None or size is None:
        raise ArtRLError(
            f"{type(model).__name__}.config does not say the sample's shape: give shape=(C, H, W)"
        )
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    return (int(channels), *map(int, sides))


def _from_azula(model, shape, sigma_data, common) -> WrappedDenoiser:
    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float64)

    clock = AzulaTime(model.schedule, tensor)
    return WrappedDenoiser(
        model, PREDICTIONS["denoised"], clock, shape=shape, sigma_data=sigma_data,
        digest_of=(clock.name, sorted(vars(model.schedule).items(), key=str)),
        library="azula", input_dtype=torch.float64, **common,
    )  # fmt: skip


def _from_k_diffusion(model, shape, span, sigma_data, common) -> WrappedDenoiser:
    own = None
    if hasattr(model, "sigmas"):  # DiscreteSchedule: a table, and its ends
        own = (float(model.sigma_min), float(model.sigma_max))
        if span != (None, None):
            raise ArtRLError(
                "this k-diffusion model has a table: leave sigma_min and sigma_max out"
            )
    clock = SigmaTime(own or _range(*span), own)
    # model.sigma_data is a constant of its preconditioner, not a measurement of its data.
    return WrappedDenoiser(
        model, PREDICTIONS["denoised"], clock, shape=shape, sigma_data=sigma_data,
        digest_of=type(model).__name__, library="k-diffusion", **common,
    )  # fmt: skip


def _of_a_class(model, common) -> WrappedDenoiser:
    trained = None if is_exact(model) else trained_range(*trained_noise(model))
    return WrappedDenoiser(
        model, PREDICTIONS["denoised"], SigmaTime(None, trained), shape=tuple(model.shape),
        sigma_data=None, digest_of=model.digest, library="callable", **common,
    )  # fmt: skip


def _comes_from(model: Any, package: str) -> bool:
    return any(c.__module__.split(".")[0] == package for c in type(model).__mro__)


def _is_a(model: Any, module: str, name: str) -> bool:
    return any((c.__module__, c.__name__) == (module, name) for c in type(model).__mro__)


def _numbers(table: Any) -> np.ndarray:
    return np.array(table.tolist() if hasattr(table, "tolist") else list(table), dtype=np.float64)


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not sizes or not all(
        isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sizes
    ):
        raise ArtRLError(f"shape must be whole numbers such as (3, 32, 32), got {shape!r}")
    return sizes


def _refuse(given: Mapping[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ArtRLError(f"{name}= is not needed here: {reason}")


def _range(sigma_min: float | None, sigma_max: float | None) -> tuple[float, float] | None:
    if sigma_max is None and sigma_min is None:
        return None
    if sigma_max is None or sigma_min is None:
        raise ArtRLError("sigma_min and sigma_max belong together: give both or none")
    return float(sigma_min), float(sigma_max)


def _check_range(low: float | None, high: float | None, sigma_data: float | None) -> None:
    for name, value in (("sigma_min", low), ("sigma_max", high), ("sigma_data", sigma_data)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ArtRLError(f"{name} must be positive and finite, got {value}")
    if low is not None and high is not None and not low < high:
        raise ArtRLError(f"sigma_min must be below sigma_max, got {low} and {high}")


def _check_training(model: Any) -> None:
    for part in modules(model):
        if part.training:
            raise ArtRLError(
                f"{type(part).__name__} is in training mode (dropout, batch statistics): call .eval()"
            )
