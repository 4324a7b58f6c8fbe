"""Schedule.apply: a diffusers scheduler that takes exactly the levels of a schedule, checked by reading back.

Why not ``set_timesteps(sigmas=...)``: EulerDiscrete wants the final 0, FlowMatchEuler must not get it
and warps the rest, EDMEuler takes a ramp in [0, 1], most classes have no such argument, and integer
time steps move levels by percents (docs/using_a_schedule.md).  So the scheduler is reset by a plain
``set_timesteps(K)``, its levels and times are written, and both are read back.  Pipelines call
``set_timesteps`` themselves; it is therefore pinned to the schedule on this object.

Nothing is imported from diffusers: classes are told by name, tensors are made from the scheduler's own.
"""

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.schedules.handover.conversions import (
    TOLERANCE,
    check_below,
    check_close,
    check_distinct,
    flow_times,
    table_indices,
    table_sigmas,
)


@dataclass(frozen=True)
class _Class:
    """How a scheduler class keeps its levels.

    Attributes:
        space: "table" (sigma, time = table position), "edm" (sigma, time = log(sigma) / 4) or "flow"
            (t, time = t x training steps).
        solver: the solver of this repository it is, or None; of multistep ones see `_solver`.
        doubled: whether every inner level appears twice (Heun's two stages).
        multistep: whether its last step must be made first-order by the configuration.
    """

    space: str
    solver: str | None
    doubled: bool = False
    multistep: bool = False


# Noise of size 1 where a list starts below time 1 is too large by what is missing: 1.2 % from sigma = 80.
_LEAST_FLOW_START = 0.98

CLASSES = {
    "EulerDiscreteScheduler": _Class("table", "euler"),
    "HeunDiscreteScheduler": _Class("table", "heun", doubled=True),
    "EulerAncestralDiscreteScheduler": _Class("table", None),
    "DPMSolverMultistepScheduler": _Class("table", None, multistep=True),
    "UniPCMultistepScheduler": _Class("table", None, multistep=True),
    "EDMEulerScheduler": _Class("edm", "euler"),
    "EDMDPMSolverMultistepScheduler": _Class("edm", None, multistep=True),
    "FlowMatchEulerDiscreteScheduler": _Class("flow", "euler"),
    "FlowMatchHeunDiscreteScheduler": _Class("flow", "heun_flow", doubled=True),
}


def apply(schedule: Any, scheduler: Any, pin: bool = True) -> Any:
    """Make ``scheduler`` visit the levels of ``schedule``; see Schedule.apply."""
    how = _class(scheduler)
    _check_settings(schedule, scheduler, how)
    _warn_of_other_solver(schedule, scheduler, how)
    _write(schedule, scheduler, how, None)
    if pin:
        scheduler.set_timesteps = _Pinned(schedule, scheduler)
    return scheduler


class _Pinned:
    """``set_timesteps`` that writes the schedule again, whatever levels the caller proposes.

    An object, not a closure: a deep copy of the scheduler then carries a copy that belongs to it.
    """

    def __init__(self, schedule: Any, scheduler: Any) -> None:
        self.schedule, self.scheduler = schedule, scheduler
        # Pipelines ask the signature whether sigmas= or timesteps= may be passed.
        self.__signature__ = inspect.signature(_original(scheduler))

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        given = self.__signature__.bind_partial(*args, **kwargs).arguments
        K = self.schedule.K
        asked = {given[name] for name in ("num_inference_steps",) if given.get(name) is not None}
        for name in ("sigmas", "timesteps"):
            if given.get(name) is not None:
                length = len(given[name])
                asked.add(K if name == "sigmas" and length == K + 1 else length)
        if asked - {K}:
            raise ArtRLError(
                f"this {type(self.scheduler).__name__} holds a schedule of {K} steps, but "
                f"{(asked - {K}).pop()} were asked for: use num_inference_steps={K}, or apply a "
                "schedule of that budget"
            )
        _write(self.schedule, self.scheduler, _class(self.scheduler), given.get("device"))


def _original(scheduler: Any) -> Any:
    """The class's own set_timesteps, bound."""
    return type(scheduler).set_timesteps.__get__(scheduler)


def _class(scheduler: Any) -> _Class:
    for base in type(scheduler).__mro__:
        if base.__name__ in CLASSES:
            how = CLASSES[base.__name__]
            if how.space == "table" and scheduler.config.get("use_flow_sigmas", False):
                return _Class("flow", how.solver, how.doubled, how.multistep)
            return how
    name = type(scheduler).__name__
    near = "EulerDiscreteScheduler, which at these levels does the same steps"
    advice = f"; use {near}" if name.startswith(("DDIM", "PNDM", "DDPM")) else ""
    if not hasattr(scheduler, "set_timesteps"):
        raise ArtRLError(
            f"apply needs a diffusers scheduler, got {name}; for samplers that take a list use "
            'to("sigmas")'
        )
    raise ArtRLError(
        f"{name} cannot be given exact levels (it computes or rounds its own){advice}; "
        f"possible: {', '.join(CLASSES)}"
    )


def scheduler_table(scheduler: Any) -> np.ndarray:
    """Levels (N,) of a scheduler's variance-preserving table, increasing, float64.

    Args:
        scheduler: a diffusers scheduler, or its configuration as a mapping (``scheduler_config.json``).

    Raises:
        ArtRLError: it has no such table.
    """
    config = scheduler if isinstance(scheduler, Mapping) else getattr(scheduler, "config", {})
    if config.get("use_flow_sigmas", False):
        raise ArtRLError(
            'a scheduler with use_flow_sigmas has flow times, no table: use to("flow")'
        )
    if isinstance(scheduler, Mapping):
        return table_sigmas(alphas_from_config(scheduler))
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        raise ArtRLError(f"{type(scheduler).__name__} has no table of alpha_bar (alphas_cumprod)")
    return table_sigmas(np.array(table.tolist()))


def alphas_from_config(config: Mapping[str, Any]) -> np.ndarray:
    """alpha_bar of a scheduler configuration, float64 (N,); betas as the library defines them."""
    name = str(config.get("_class_name", "the configuration"))
    if config.get("trained_betas") is not None:
        betas = np.array(config["trained_betas"], dtype=np.float64)
    else:
        missing = [key for key in ("beta_start", "beta_end", "beta_schedule") if key not in config]
        if missing:
            raise ArtRLError(f"{name} has no {missing[0]!r}: not a variance-preserving scheduler")
        N = int(config.get("num_train_timesteps", 1000))
        start, end = float(config["beta_start"]), float(config["beta_end"])
        kind = config["beta_schedule"]
        if kind == "linear":
            betas = np.linspace(start, end, N)
        elif kind == "scaled_linear":
            betas = np.linspace(start**0.5, end**0.5, N) ** 2
        elif kind == "squaredcos_cap_v2":
            time = np.arange(N + 1) / N
            bar = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
            betas = np.minimum(1 - bar[1:] / bar[:-1], 0.999)
        else:
            raise ArtRLError(
                f"{name}: beta_schedule {kind!r} is not known here; hand over the scheduler itself"
            )
    if config.get("rescale_betas_zero_snr"):
        raise ArtRLError(f"{name} rescales its betas: hand over the scheduler itself")
    return np.cumprod(1 - betas)


def _check_settings(schedule: Any, scheduler: Any, how: _Class) -> None:
    """Refuse settings under which the levels would not be used as they are."""
    name, config = type(scheduler).__name__, scheduler.config
    if config.get("invert_sigmas", False):
        raise ArtRLError(f"{name} has invert_sigmas: its levels run the other way; set it to False")
    if how.multistep and config.get("final_sigmas_type", "zero") != "zero":
        raise ArtRLError(
            f"{name}.config.final_sigmas_type must be 'zero' for a list that ends at 0, got "
            f"{config['final_sigmas_type']!r}: from_config(config, final_sigmas_type='zero')"
        )
    if how.multistep and not config.get("lower_order_final", True):
        raise ArtRLError(
            f"{name}.config.lower_order_final must be True for a list that ends at 0: a step of "
            "higher order to sigma = 0 is not finite"
        )
    sigmas = schedule.numpy()
    if how.space == "table":
        table = scheduler_table(scheduler)
        check_below(sigmas, table[-1], f"the table of {name}")
        below = np.flatnonzero(sigmas[:-1] < table[0] * (1 - TOLERANCE))
        if len(below):
            warnings.warn(
                f"sigmas[{below[0]}] = {sigmas[below[0]]:.6g} lies below {table[0]:.6g}, where the "
                f"table of {name} begins: the model is asked for time step 0 there",
                stacklevel=4,
            )
    elif how.space == "flow":
        start = float(flow_times(sigmas[0]))
        if start < _LEAST_FLOW_START:
            warnings.warn(
                f"the schedule starts at flow time {start:.3g}, but pipelines start {name} from noise of "
                f"size 1, as at time 1: scale it by {start:.3g} (latents=), or take a list with a larger "
                "sigma_max",
                stacklevel=4,
            )
    elif how.space == "edm":
        largest = float(config["sigma_max"])
        if abs(schedule.sigma_max / largest - 1) > 1e-3:
            raise ArtRLError(
                f"the schedule starts at {schedule.sigma_max:.6g}, but {name} starts samples at its "
                f"own sigma_max = {largest:.6g}: "
                f"from_config(config, sigma_max={schedule.sigma_max:.6g})"
            )


def _solver(scheduler: Any, how: _Class, K: int) -> str | None:
    """The solver of this repository that the scheduler is for K steps, as configured, or None."""
    config, order = scheduler.config, scheduler.config.get("solver_order")
    if not how.multistep:
        return None if config.get("stochastic_sampling", False) else how.solver
    if "UniPC" in type(scheduler).__name__:
        plain = config["predict_x0"] and config["solver_type"] == "bh2"
        whole = plain and not config["disable_corrector"]
        return f"unipc{order}" if whole and order in (2, 3) else None
    if config["algorithm_type"] != "dpmsolver++" or (
        order == 2 and config["solver_type"] == "heun"
    ):
        return None
    # The order of the last step but one is lowered below 15 steps only.
    return {1: "euler", 2: "dpmpp2m", 3: "dpmpp3m" if K < 15 else None}.get(order)


def _warn_of_other_solver(schedule: Any, scheduler: Any, how: _Class) -> None:
    made_for = str(schedule.provenance.get("solver", "any"))
    solver = _solver(scheduler, how, schedule.K)
    # Of these solvers only Heun is another one in flow time.
    plain = made_for if solver == "heun" else made_for.removesuffix("_flow")
    if made_for == "any" or solver in (made_for, plain):
        return
    other = {"heun_flow": "Heun in flow time"}.get(solver or "", solver or "another solver")
    warnings.warn(
        f"this schedule was made for {made_for}, {type(scheduler).__name__} is {other}: the levels "
        "arrive exactly, but they are not the best ones for it",
        stacklevel=4,
    )


def _write(schedule: Any, scheduler: Any, how: _Class, device: Any) -> None:
    """Reset the scheduler, write levels and times, read both back."""
    config, K = scheduler.config, schedule.K
    sigmas = schedule.numpy()
    extra = {"mu": 1.0} if config.get("use_dynamic_shifting", False) else {}
    if (
        extra
        and config.get("flow_shift") is not None
        and "sigmas" not in inspect.signature(_original(scheduler)).parameters
    ):
        extra = {}  # there mu is optional, and would overwrite the configuration
    _original(scheduler)(K, device=device, **extra)
    if how.space == "flow":
        levels = flow_times(sigmas)
        times = levels[:-1] * config["num_train_timesteps"]
    elif how.space == "edm" or (
        config.get("timestep_type") == "continuous"
        and config.get("prediction_type") == "v_prediction"
    ):
        levels, times = sigmas, 0.25 * np.log(sigmas[:-1])
    else:
        levels = sigmas
        times = table_indices(sigmas[:-1], scheduler_table(scheduler))
    written, asked = levels, times
    if how.doubled:
        written = np.concatenate([levels[:1], np.repeat(levels[1:-1], 2), levels[-1:]])
        asked = np.concatenate([times[:1], np.repeat(times[1:], 2)])
    old = scheduler.sigmas.float()
    scheduler.sigmas = old.new_tensor(written.tolist())
    place = scheduler.timesteps.device
    scheduler.timesteps = old.new_tensor(asked.tolist()).to(device if device is not None else place)
    scheduler.num_inference_steps = K
    # Without it the first step looks its time up in the list and skips one of two equal times.
    scheduler.set_begin_index(0)
    _read_back(scheduler, how, levels, asked)


def _read_back(scheduler: Any, how: _Class, levels: np.ndarray, asked: np.ndarray) -> None:
    name = type(scheduler).__name__
    arrived = np.array(scheduler.sigmas.tolist(), dtype=np.float64)
    if how.doubled:
        arrived = np.append(arrived[:1], arrived[1::2])
    check_close(arrived, levels, name)
    check_distinct(arrived, name + ": {levels} are one number in float32")
    times = np.array(scheduler.timesteps.tolist(), dtype=np.float64)
    off = np.abs(times - asked)
    if times.shape != asked.shape or not (off <= 1e-6 * np.maximum(1, np.abs(asked))).all():
        raise ArtRLError(f"{name}: its time steps are not those of the levels (read back {times})")
