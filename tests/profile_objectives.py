"""ART's objective of a measured |Q| profile by quadrature: what the closed form is held against in tests."""

import numpy as np

from art_rl.schedules.closed_form import _interpolate
from art_rl.schedules.schedule import Schedule

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)


def _integral(function, edges):
    """Gauss-Legendre integrals over successive cells of ascending ``edges``; (len(edges) - 1,)."""
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    points = middle[:, None] + half[:, None] * _NODES
    return (function(points.ravel()).reshape(points.shape) * _WEIGHTS).sum(1) * half


def _ascending(profile):
    return np.concatenate([[0.0], profile.levels[::-1]])


def art_objective(schedule, profile, clock="gaussian"):
    """ART's objective E int_0^T |Q| theta^2 dt of a schedule's clock (2601.18681, eq. 9; a cost, >= 0).

    The levels are the clock's values at t = k T/K, T = sigma_max.  Between them the clock is linear in

        "gaussian"   w(sigma) = int_0^sigma (s^2 + sigma_data^2)^(-3/4) ds, a coordinate in which
                     sensible clocks are nearly linear (default): theta = (K/T) dw_k / w'(sigma)
        "linear"     sigma: theta = (K/T) (sigma_k - sigma_{k+1}), constant on each interval

    Both exceed the optimum by a term of order K^-2 for the optimal clock; use K >= 64 to compare
    clocks, not grids.
    """
    levels = schedule.sigmas if isinstance(schedule, Schedule) else schedule
    sigmas = np.array(levels)[::-1]
    c = profile.sigma_data
    rate = {"gaussian": lambda s: (s**2 + c**2) ** -0.75, "linear": np.ones_like}[clock]
    q = _interpolate(profile.levels, profile.mean[1])

    def cost(sigma):
        return q(sigma) / rate(sigma)

    edges = np.union1d(_ascending(profile), sigmas)
    cell = np.clip(np.searchsorted(sigmas, edges[1:], side="left") - 1, 0, len(sigmas) - 2)
    K = len(sigmas) - 1
    steps = np.bincount(cell, _integral(rate, edges), minlength=K)
    costs = np.bincount(cell, _integral(cost, edges), minlength=K)
    return float(K / profile.sigma_max * np.sum(steps * costs))


def closed_form_objective(profile):
    """The least ART objective of a clock that sees the time only: (int |Q|^(1/2) dsigma)^2 / T.

    A cost, in the units of `art_objective`; the paper's J is minus it.
    """
    q = _interpolate(profile.levels, profile.mean[1])
    total = _integral(lambda s: np.sqrt(q(s)), _ascending(profile)).sum()
    return float(total**2 / profile.sigma_max)


def per_trajectory_bound(profile):
    """Mean over trajectories of (int |Q_i|^(1/2) dsigma)^2 / T, and its standard error.

    What a clock could reach that knows each trajectory's own |Q| (theta ~ |Q(x, psi)|^(-1/2)); at most
    the closed form.  Trapezoidal rule in log sigma, which suits single trajectories whose |Q| has zeros.
    """
    levels = profile.levels
    root = np.sqrt(profile.table.astype(np.float64))
    integrals = np.trapezoid(root[:, ::-1] * levels[::-1], np.log(levels[::-1]), axis=1)
    costs = (integrals + root[:, -1] * levels[-1]) ** 2 / profile.sigma_max
    return float(costs.mean()), float(costs.std(ddof=1) / np.sqrt(len(costs)))
