"""ART / ART-RL: learned timestep schedules for diffusion sampling.

Noise levels sigma are in the units of the data (EDM convention, images in [-1, 1]); the sampler runs
from sigma_max down to exactly 0 along the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma.
Reverse time psi = sigma_max - sigma (2601.18681, section 2; paper's T = sigma_max).

Public names, imported when first used (``import art_rl`` alone loads neither numpy nor torch):

    wrap        a model of diffusers, k-diffusion, azula, or any callable, as a denoiser D(x; sigma)
    learn       schedules for a denoiser, one per budget, compared with what its library does by default
    schedule    a schedule that needs no model, by name
    Schedule    K + 1 noise levels: save, load, to (another convention), apply (a diffusers scheduler)
    ArtRLError  bad input, said in one line
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from art_rl.records import VERSION

if TYPE_CHECKING:
    from art_rl.denoisers.adapters import wrap as wrap
    from art_rl.errors import ArtRLError as ArtRLError
    from art_rl.own_model import learn as learn
    from art_rl.schedules.by_name import schedule as schedule
    from art_rl.schedules.schedule import Schedule as Schedule

__version__ = VERSION

_HOMES = {
    "ArtRLError": "art_rl.errors",
    "Schedule": "art_rl.schedules.schedule",
    "learn": "art_rl.own_model",
    "schedule": "art_rl.schedules.by_name",
    "wrap": "art_rl.denoisers.adapters",
}

__all__ = ["ArtRLError", "Schedule", "learn", "schedule", "wrap"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
