"""DMN: levels from a bound on the error of a multistep solver, without any model (2402.17376).

In lambda = -log sigma the solution is an integral of e^lambda D over lambda.  Step n of a multistep
solver replaces D by the Lagrange polynomial through the denoiser's values at the last p_n levels, so a
unit error of the value at level j enters the result with the coefficient

    c_j = sum_n J_nj w_j,    J_nj = int_{lambda_n}^{lambda_{n+1}} e^l ell_j(l) dl

with w the size of the denoiser's error in the variance-preserving scale, w = s^2 / a or s / a with
a = 1 / sqrt(1 + e^{-2 lambda}), s = a e^{-lambda}; order p_n is 1 on the first and the last step, 2 on
the second and the last but one, 3 between.  The objective is sum_j |c_j|; steps before ``truncated``
enter with the root of the sum of their squared terms instead, because with few levels signed terms
could cancel to a meaningless minimum.  The first and the last step always enter with their own size.
"""

import numpy as np
import scipy

from art_rl.checks import check_budget
from art_rl.schedules.rivals.path import ended
from art_rl.schedules.schedule import Schedule, check_positive_range

_X, _W = np.polynomial.legendre.leggauss(32)
_ROUNDS = 12
_LEAST_GAIN = 1e-4
EXPONENT, TRUNCATED = 2, 3  # of `dmn_objective`, as published in code


def dmn_objective(
    lambdas: np.ndarray, exponent: int = EXPONENT, truncated: int = TRUNCATED
) -> float:
    """The bound of a list of levels.

    Args:
        lambdas: (N + 1,) float64, strictly increasing, -log of the levels; N >= 1 steps.
        exponent: of s in the error size w; 1 is recommended for pixels.
        truncated: first steps whose terms are not allowed to cancel.

    Returns:
        the objective, > 0; infinity if the levels are not increasing.
    """
    lam = np.asarray(lambdas, dtype=np.float64)
    h = np.diff(lam)
    if not (h > 0).all():
        return float("inf")
    N = len(h)
    a = 1 / np.sqrt(1 + np.exp(-2 * lam))
    weight = (a * np.exp(-lam)) ** exponent / a
    points = (lam[:-1, None] + lam[1:, None]) / 2 + h[:, None] / 2 * _X
    mass = np.exp(points) * _W * (h[:, None] / 2)
    steps = np.arange(N)
    order = np.minimum(np.minimum(steps, N - 1 - steps) + 1, 3)
    signed = np.zeros(N)
    total = 0.0
    for p in (1, 2, 3):
        own = steps[order == p]
        nodes = own - np.arange(p)[::-1, None]  # (p, steps of this order)
        at = lam[nodes][..., None]
        basis = np.ones((p, len(own), len(_X)))
        for j in range(p):
            for m in range(p):
                if m != j:
                    basis[j] *= (points[own] - at[m]) / (at[j] - at[m])
        terms = weight[nodes] * (basis * mass[own]).sum(-1)
        free = (own >= truncated) & (p > 1)
        total += np.sqrt((terms[:, ~free] ** 2).sum(0)).sum()
        np.add.at(signed, nodes[:, free], terms[:, free])
    return float(total + np.abs(signed).sum())


def minimise_dmn(
    K: int, sigma_max: float, sigma_min: float, exponent: int = EXPONENT, truncated: int = TRUNCATED
) -> tuple[np.ndarray, float]:
    """Levels of least objective; deterministic.

    The objective has kinks, so the search is Nelder-Mead on log h_n - log h_0, restarted from its own
    result until a restart gains less than 0.01 %, from uniform log-SNR and from EDM's levels.

    Returns:
        (K + 1,) lambdas from -log sigma_max to -log sigma_min, and the objective.

    Raises:
        ArtRLError: bad K or range.
    """
    check_budget(K)
    check_positive_range(sigma_min, sigma_max, "DMN")
    low, high = -np.log(sigma_max), -np.log(sigma_min)

    def levels(z: np.ndarray) -> np.ndarray:
        share = np.exp(np.append(0.0, z) - max(0.0, z.max(initial=0.0)))
        lam = low + (high - low) * np.append(0.0, np.cumsum(share) / share.sum())
        lam[-1] = high
        return lam

    def value(z: np.ndarray) -> float:
        return dmn_objective(levels(z), exponent, truncated)

    best, least = levels(np.zeros(K - 1)), value(np.zeros(K - 1))
    if K == 1:
        return best, least
    root = np.linspace(sigma_max ** (1 / 7), sigma_min ** (1 / 7), K + 1)
    for start in (best, -7 * np.log(root)):
        h = np.diff(start)
        z = np.log(h[1:] / h[0])
        here = value(z)
        for _ in range(_ROUNDS):
            options = {"maxfev": 400 * K, "xatol": 1e-7, "fatol": 1e-9 * here, "adaptive": K > 6}
            found = scipy.optimize.minimize(value, z, method="Nelder-Mead", options=options)
            gain = here - found.fun
            if gain > 0:
                z, here = found.x, float(found.fun)
            if not gain > _LEAST_GAIN * here:
                break
        if here < least:
            best, least = levels(z), here
    return best, least


def dmn_schedule(K: int, sigma_max: float, sigma_min: float, model: str | None = None) -> Schedule:
    """The DMN schedule of K steps, by the published code's objective; needs no network evaluations.

    Raises:
        ArtRLError: as `minimise_dmn`.
    """
    lambdas, value = minimise_dmn(K, sigma_max, sigma_min, EXPONENT, TRUNCATED)
    levels = np.exp(-lambdas)
    levels[0] = sigma_max
    details = {"objective": value, "exponent": EXPONENT, "truncated": TRUNCATED, "evaluations": 0}
    return ended(levels, "dmn", details, model)
