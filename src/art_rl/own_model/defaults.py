"""What a model's own library would do with K steps: the lists a learned one is compared with.

diffusers: every time spacing and sigma rule its scheduler offers, from the scheduler itself.
k-diffusion: get_sigmas_karras and get_sigmas_exponential are EDM's grid and the log-uniform one.
azula: linspace(1, 0) in its time.  A callable: linspace in its table or flow time, or EDM's grid.
"""

import warnings
from typing import Any

import numpy as np

from art_rl.denoisers.base import Denoiser
from art_rl.errors import ArtRLError
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.handover.conversions import flow_sigmas, table_levels
from art_rl.schedules.handover.diffusers import scheduler_table
from art_rl.schedules.schedule import Schedule

_RULES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
_SPACINGS = ("linspace", "leading", "trailing")


def library_defaults(
    denoiser: Denoiser, K: int, sigma_max: float, sigma_min: float
) -> dict[str, Schedule]:
    """Schedules by name, the library's own setting first; empty for models without a library.

    Args:
        denoiser: made by `art_rl.wrap`, or any other (then EDM's grid, named "edm").
        sigma_max, sigma_min: range of levels where the library would be told one.
    """
    scheduler = getattr(denoiser, "scheduler", None)
    library = getattr(denoiser, "library", "")
    if scheduler is not None:
        return _diffusers(scheduler, K)
    time: Any = getattr(denoiser, "time", None)
    made: dict[str, Any] = {}
    if library == "azula":
        made["azula linspace(1, 0)"] = _azula(time, K)
    elif library == "callable" and hasattr(time, "table"):
        N = len(time.table)
        made["linspace"] = np.linspace(N - 1, 0, K) if K > 1 else np.array([N - 1.0])
        made["trailing"] = np.round(np.arange(N, 0, -N / K)) - 1
        made = {name: np.append(table_levels(at, time.table), 0.0) for name, at in made.items()}
    elif library == "callable" and type(time).__name__ == "FlowTime":
        times = np.minimum(np.linspace(1, 0, K + 1), sigma_max / (1 + sigma_max))
        made["linspace(1, 0)"] = flow_sigmas(times)
    else:
        prefix = "k-diffusion " if library == "k-diffusion" else ""
        names = (("karras", "edm"), ("exponential", "dpm")) if prefix else (("edm", "edm"),)
        for name, method in names:
            made[prefix + name] = baseline_schedule(method, K, sigma_max, sigma_min).numpy()
    return _valid(made, K)


def _azula(time: Any, K: int) -> np.ndarray:
    t = np.linspace(1, 0, K + 1)[:-1]
    levels = np.exp(time._log_ratio(t))
    return np.append(levels, 0.0)


def _diffusers(scheduler: Any, K: int) -> dict[str, Schedule]:
    config = scheduler.config
    changes: dict[str, dict[str, Any]] = {"as configured": {}}
    plain = {rule: False for rule in _RULES if rule in config}
    if "timestep_spacing" in config:
        for spacing in _SPACINGS:
            changes[spacing] = {**plain, "timestep_spacing": spacing}
    elif plain:
        changes["plain"] = plain
    for rule in plain:
        changes[rule.split("_")[1]] = {**plain, rule: True}
    if "sigma_schedule" in config:
        for rule in ("karras", "exponential"):
            changes[rule] = {"sigma_schedule": rule}
    made = {}
    for name, change in changes.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = _levels(type(scheduler).from_config(config, **change), K)
        except Exception:  # a combination the library itself does not accept is no default
            continue
    schedules = _valid(made, K)
    # Rules that give the configured list again say nothing new.
    first = schedules.get("as configured")
    same = [n for n, s in schedules.items() if n != "as configured" and first == s]
    if first is not None and same:
        schedules.pop("as configured")
        named = {f"{same[0]} (as configured)": first}
        return named | {n: s for n, s in schedules.items() if n not in same}
    return schedules


def _levels(scheduler: Any, K: int) -> np.ndarray:
    extra = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(K, **extra)
    config = scheduler.config
    if not hasattr(scheduler, "sigmas") or "DDIM" in type(scheduler).__name__:
        # PNDM names its second step twice: one more call, no further level.
        at = np.array(list(dict.fromkeys(scheduler.timesteps.tolist())), dtype=int)
        # Zero terminal SNR is sigma = infinity: the model's own range ends one training step below.
        table = scheduler_table(scheduler)
        return np.append(table[np.minimum(at, len(table) - 1)], 0.0)
    levels = np.array(scheduler.sigmas.tolist(), dtype=np.float64)
    if "Heun" in type(scheduler).__name__:
        levels = np.append(levels[:1], levels[1::2])
    if "FlowMatch" in type(scheduler).__name__ or config.get("use_flow_sigmas"):
        # t = 1 is sigma = infinity; the model's own range ends one training step below.
        levels = flow_sigmas(np.minimum(levels, 1 - 1 / config["num_train_timesteps"]))
    levels[-1] = 0.0
    return levels


def _valid(made: dict[str, np.ndarray], K: int) -> dict[str, Schedule]:
    schedules = {}
    for name, levels in made.items():
        try:
            schedule = Schedule(tuple(levels), {"method": name})
        except ArtRLError:  # e.g. two equal levels: such a list is no K steps
            continue
        if schedule.K == K:  # PNDM's Runge-Kutta start has more
            schedules[name] = schedule
    return schedules
