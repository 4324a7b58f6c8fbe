"""The official EDM samplers: Heun with churn, and the general sampler of the paper's ablations.

A sampler follows sigma(t) and scaling s(t), with x = s(t) (x_0 + sigma(t) noise)
(Karras et al. 2022, eq. 4 and table 1):

    dx/dt = (sigma'/sigma + s'/s) x - s sigma'/sigma D(x/s; sigma)

    schedule   vp      sigma = sqrt(exp(beta_d t^2/2 + beta_min t) - 1)
               ve      sigma = sqrt(t)
               linear  sigma = t
    scaling    vp      s = 1/sqrt(1 + sigma^2)
               none    s = 1

and visits the levels of a discretisation: ``edm``, ``vp``, ``ve`` or ``iddpm`` (see `discretise`).
The state is float64; network calls are counted by whatever denoiser is given.  Levels are rounded to
those the network knows (``round_sigma``) and kept within its limits.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_budget, check_one_of
from art_rl.denoisers.base import Denoiser, Labelled
from art_rl.denoisers.edm.preconditioning import iddpm_levels
from art_rl.errors import ArtRLError
from art_rl.flow.seeds import SeedNoise
from art_rl.flow.solvers import euler_step, heun_step
from art_rl.schedules.schedule import check_positive_range, check_sigma_range

EPSILON_S = 1e-3  # last time of the vp discretisation


class Time(NamedTuple):
    """sigma(t) of a schedule, its derivative and its inverse, elementwise."""

    sigma: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    time: Callable[[Tensor], Tensor]


def vp_time(beta_d: float = 19.9, beta_min: float = 0.1) -> Time:
    """sigma(t) = sqrt(exp(beta_d t^2/2 + beta_min t) - 1)."""

    def sigma(t: Tensor) -> Tensor:
        return (torch.exp(beta_d * t**2 / 2 + beta_min * t) - 1).sqrt()

    def slope(t: Tensor) -> Tensor:
        level = sigma(t)
        return 0.5 * (beta_min + beta_d * t) * (level + 1 / level)

    def time(level: Tensor) -> Tensor:
        root = (beta_min**2 + 2 * beta_d * (level**2 + 1).log()).sqrt()
        return (root - beta_min) / beta_d

    return Time(sigma, slope, time)


def vp_between(sigma_min: float, sigma_max: float) -> Time:
    """`vp_time` with the betas for which sigma(EPSILON_S) = sigma_min and sigma(1) = sigma_max."""
    low, high = math.log(sigma_min**2 + 1), math.log(sigma_max**2 + 1)
    beta_d = 2 * (low / EPSILON_S - high) / (EPSILON_S - 1)
    return vp_time(beta_d, high - beta_d / 2)


VE_TIME = Time(sigma=torch.sqrt, slope=lambda t: 0.5 / t.sqrt(), time=lambda sigma: sigma**2)
LINEAR_TIME = Time(sigma=lambda t: t, slope=torch.ones_like, time=lambda sigma: sigma)

DEFAULT_RANGES = {
    "vp": tuple(
        float(vp_time().sigma(torch.tensor(t, dtype=torch.float64))) for t in (EPSILON_S, 1.0)
    ),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
    "edm": (0.002, 80.0),
}
SCHEDULES = ("vp", "ve", "linear")
SCALINGS = ("vp", "none")


def sigma_range(
    discretisation: str,
    denoiser: Denoiser | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> tuple[float, float]:
    """Lowest and highest level: as given or the discretisation's default, within the network's limits.

    Raises:
        ArtRLError: unknown discretisation, or nothing is left between the limits.
    """
    check_one_of("discretisation", discretisation, DEFAULT_RANGES)
    default_min, default_max = DEFAULT_RANGES[discretisation]
    low = default_min if sigma_min is None else float(sigma_min)
    high = default_max if sigma_max is None else float(sigma_max)
    low = max(low, getattr(denoiser, "sigma_min", 0.0))
    high = min(high, getattr(denoiser, "sigma_max", math.inf))
    check_sigma_range(low, high)
    return low, high


def discretise(
    discretisation: str,
    K: int,
    denoiser: Denoiser | None = None,
    *,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
) -> np.ndarray:
    """The K positive levels of an official discretisation, before rounding to the network's levels.

        edm    sigma_i^(1/rho) equidistant from sigma_max to sigma_min (Karras et al. 2022, eq. 5)
        vp     t equidistant from 1 to EPSILON_S, betas fitted to the limits
        ve     sigma^2 geometric from sigma_max^2 to sigma_min^2
        iddpm  every n-th level of the iDDPM table that lies between the limits

    Returns:
        float64 (K,), not increasing, the highest level first, without the final 0.

    Raises:
        ArtRLError: unknown name, K < 2, bad range, no iddpm level within the limits.
    """
    if check_budget(K) < 2:
        raise ArtRLError(f"K must be at least 2 for the official discretisations, got {K}")
    low, high = sigma_range(discretisation, denoiser, sigma_min, sigma_max)
    check_positive_range(low, high, "an official discretisation")
    share = np.arange(K) / (K - 1)
    if discretisation == "edm":
        if not (math.isfinite(rho) and rho > 0):
            raise ArtRLError(f"rho must be positive and finite, got {rho}")
        return (high ** (1 / rho) + share * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    if discretisation == "vp":
        time = torch.from_numpy(1 + share * (EPSILON_S - 1))
        return vp_between(low, high).sigma(time).numpy()
    if discretisation == "ve":
        return np.sqrt(high**2 * (low**2 / high**2) ** share)
    table = iddpm_levels()
    table = table[(table >= low) & (table <= high)]
    if not len(table):
        raise ArtRLError(f"no level of the iddpm table lies in [{low}, {high}]")
    return table[np.rint((len(table) - 1) / (K - 1) * np.arange(K)).astype(int)]


@torch.no_grad()
def edm_sample(
    denoiser: Denoiser,
    noise: SeedNoise,
    K: int = 18,
    *,
    solver: str = "heun",
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
    S_churn: float = 0.0,
    S_min: float = 0.0,
    S_max: float = math.inf,
    S_noise: float = 1.0,
    class_labels: Tensor | None = None,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Karras et al. 2022, Alg. 2 (Alg. 1 without churn): 2K - 1 network calls, K with Euler.

    Args:
        noise: latents, labels and further noise of the seeds; noise is drawn at every step.
        solver: "heun" (official) or "euler".
        sigma_min, sigma_max, rho: of the edm discretisation; defaults 0.002, 80, 7.
        S_churn, S_min, S_max, S_noise: temporary noise increase; gamma = min(S_churn / K, sqrt(2) - 1)
            while S_min <= sigma <= S_max.
        class_labels: (N, label_dim) instead of the labels drawn from the seeds.
        callback: called as callback(k, sigma_k, x_k), x_k before churn, the last one (K, 0.0, x_K) included.

    Returns:
        (N, *shape) float64, not clipped.
    """
    step = {"heun": heun_step, "euler": euler_step}.get(solver)
    if step is None:
        raise ArtRLError(f"solver must be heun or euler for the official sampler, got {solver!r}")
    levels = discretise("edm", K, denoiser, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    t = _append_zero(_round(denoiser, torch.from_numpy(levels).to(noise.device)))
    model = Labelled(denoiser, _labels(denoiser, noise, class_labels))
    x = noise.latents.to(torch.float64) * t[0]
    for k in range(K):
        if callback is not None:
            callback(k, float(t[k]), x)
        t_hat = t[k]
        # Officially the noise is drawn in any case; without churn it is multiplied by 0, so not here.
        if S_churn > 0:
            gamma = _gamma(float(t[k]), K, S_churn, S_min, S_max)
            t_hat = _round(denoiser, t[k] + gamma * t[k])
            x = x + (t_hat**2 - t[k] ** 2).clamp(min=0).sqrt() * S_noise * noise.normal()
        x = (step if k < K - 1 else euler_step)(model, x, t_hat, t[k + 1])
    if callback is not None:
        callback(K, 0.0, x)
    return x


@torch.no_grad()
def ablation_sample(
    denoiser: Denoiser,
    noise: SeedNoise,
    K: int = 18,
    *,
    solver: str = "heun",
    discretisation: str = "edm",
    schedule: str = "linear",
    scaling: str = "none",
    alpha: float = 1.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
    S_churn: float = 0.0,
    S_min: float = 0.0,
    S_max: float = math.inf,
    S_noise: float = 1.0,
    class_labels: Tensor | None = None,
) -> Tensor:
    """The general sampler of the ablations: Euler, or a second-order step with midpoint ``alpha``.

        x' = x + alpha h d(x, t)
        x_next = x + h ((1 - 1/(2 alpha)) d(x, t) + 1/(2 alpha) d(x', t + alpha h))

    alpha = 1 is Heun's rule; the last step is always Euler's.  Other arguments as in `edm_sample`,
    `discretise` and the module's docstring.

    Returns:
        (N, *shape) float64, not clipped.
    """
    check_one_of("solver", solver, ("heun", "euler"))
    check_one_of("schedule", schedule, SCHEDULES)
    check_one_of("scaling", scaling, SCALINGS)
    if not 0 < alpha <= 1:
        raise ArtRLError(f"alpha must be in (0, 1], got {alpha}")
    low, high = sigma_range(discretisation, denoiser, sigma_min, sigma_max)
    clock = {"vp": vp_between(low, high), "ve": VE_TIME, "linear": LINEAR_TIME}[schedule]
    grid = discretise(
        discretisation, K, denoiser, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho
    )
    levels = _round(denoiser, torch.from_numpy(grid).to(noise.device))
    t = _append_zero(clock.time(levels))
    labels = _labels(denoiser, noise, class_labels)

    def scale(time: Tensor) -> Tensor:
        one = torch.ones_like(time)
        return 1 / (1 + clock.sigma(time) ** 2).sqrt() if scaling == "vp" else one

    def slope(x: Tensor, time: Tensor) -> Tensor:
        sigma, change, s = clock.sigma(time), clock.slope(time), scale(time)
        # s'/s = -sigma sigma' s^2 for s = 1/sqrt(1 + sigma^2)
        relative = -sigma * change * s**2 if scaling == "vp" else torch.zeros_like(time)
        denoised = denoiser(x / s, sigma, labels).to(torch.float64)
        return (change / sigma + relative) * x - s * change / sigma * denoised

    x = noise.latents.to(torch.float64) * (clock.sigma(t[0]) * scale(t[0]))
    for k in range(K):
        sigma = clock.sigma(t[k])
        gamma = _gamma(float(sigma), K, S_churn, S_min, S_max)
        t_hat = clock.time(_round(denoiser, sigma + gamma * sigma))
        x = scale(t_hat) / scale(t[k]) * x
        if S_churn > 0:
            added = (clock.sigma(t_hat) ** 2 - sigma**2).clamp(min=0).sqrt()
            x = x + added * scale(t_hat) * S_noise * noise.normal()
        h = t[k + 1] - t_hat
        d = slope(x, t_hat)
        if solver == "heun" and k < K - 1:
            d_prime = slope(x + alpha * h * d, t_hat + alpha * h)
            d = (1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_prime
        x = x + h * d
    return x


def _gamma(sigma: float, K: int, S_churn: float, S_min: float, S_max: float) -> float:
    return min(S_churn / K, math.sqrt(2) - 1) if S_min <= sigma <= S_max else 0.0


def _round(denoiser: Denoiser, sigma: Tensor) -> Tensor:
    rounding = getattr(denoiser, "round_sigma", None)
    return sigma if rounding is None else rounding(sigma).to(sigma.dtype)


def _append_zero(levels: Tensor) -> Tensor:
    return torch.cat([levels, levels.new_zeros(1)])


def _labels(denoiser: Denoiser, noise: SeedNoise, given: Tensor | None) -> Tensor | None:
    labels = noise.class_labels if given is None else given
    if denoiser.label_dim and labels is None:
        raise ArtRLError(
            f"the model has {denoiser.label_dim} classes: make SeedNoise with "
            f"label_dim={denoiser.label_dim} or give class_labels"
        )
    return labels if denoiser.label_dim else None
