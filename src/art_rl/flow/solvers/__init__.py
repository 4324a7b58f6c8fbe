"""Solvers of the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma, one signature for all.

`base` the signature and the memory; `single_step`, `adams`, `deis`, `dpm`, `unipc` the formulas; `run` the
loop over a list of levels; `adaptive` the one that chooses its levels itself (imported by name).  Ids,
orders, calls per step and the treatment of the last step are `art_rl.registry`'s.  The state keeps its
dtype (float64 by convention); the denoiser may compute in another.
"""

from art_rl.flow.solvers.base import History
from art_rl.flow.solvers.run import SOLVERS, run_levels, solve
from art_rl.flow.solvers.single_step import euler_step, heun_step
from art_rl.registry import ORDERS, STAGES, check_single_step, check_solver, nfe

__all__ = [
    "ORDERS",
    "SOLVERS",
    "STAGES",
    "History",
    "check_single_step",
    "check_solver",
    "euler_step",
    "heun_step",
    "nfe",
    "run_levels",
    "solve",
]
