"""Solvers, methods, metrics and kinds of model: one row each, methods in the order of the tables.

The ids name files (results/<model>/schedules/<id>/...), config entries and CSV rows; the labels are
what a reader sees.  docs/architecture.md says what else adding one takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from art_rl.checks import check_budget, check_known
from art_rl.errors import ArtRLError

HAND_MADE = "Hand-made"
CLOSED_FORM = "Closed form"
RIVAL = "Rivals"
LEARNED = "ART-RL"
TRANSFER = "ART-RL carried over"

# Files that one job computes the schedules of many methods from: measured |Q|, what rivals measure.
PROFILE, STATISTICS = "profile", "statistics"

EULER = "euler"  # the last step, to sigma = 0, is an Euler step: it ends at D(x; sigma_{K-1})
OWN = "own"  # the solver's own formula takes the last step to sigma = 0


@dataclass(frozen=True)
class Solver:
    """One solver of the probability-flow ODE; `art_rl.flow.solvers` holds its step.

    Attributes:
        id: name in files and in the configuration.
        label: name in tables and figures.
        order: order of accuracy between two levels above 0, as measured on exact models
            (docs/solvers.md); it is not always the number in the published name.
        stages: network calls of one step.
        memory: evaluations of earlier steps that a step uses; 0 for single-step solvers.
        last_step: EULER or OWN, how the step to sigma = 0 is taken.
        data: whether its formula combines denoised states; the others combine slopes (x - D) / sigma.
    """

    id: str
    label: str
    order: int
    stages: int
    memory: int
    last_step: str
    data: bool = False


SOLVERS: dict[str, Solver] = {
    solver.id: solver
    for solver in (
        Solver("euler", "Euler", 1, 1, 0, EULER),
        Solver("heun", "Heun", 2, 2, 0, EULER),
        Solver("rk4", "RK4", 4, 4, 0, EULER),
        # Order 2 whatever the number: the weights are those of equal steps.
        Solver("ipndm2", "iPNDM-2", 2, 1, 1, OWN),
        Solver("ipndm3", "iPNDM-3", 2, 1, 2, OWN),
        Solver("ipndm4", "iPNDM-4", 2, 1, 3, OWN),
        Solver("lms2", "LMS-2", 2, 1, 1, OWN),
        Solver("lms3", "LMS-3", 3, 1, 2, OWN),
        Solver("lms4", "LMS-4", 4, 1, 3, OWN),
        Solver("deis_tab3", "DEIS-tAB3", 4, 1, 3, EULER),
        Solver("dpmpp2m", "DPM-Solver++(2M)", 2, 1, 1, EULER, data=True),
        # As released: order 2.
        Solver("dpmpp3m", "DPM-Solver++(3M)", 2, 1, 2, EULER, data=True),
        Solver("dpmpp3m_third_order", "DPM-Solver++(3M), third order", 3, 1, 2, EULER, data=True),
        Solver("unipc2", "UniPC-2", 3, 1, 1, OWN, data=True),
        Solver("unipc3", "UniPC-3", 4, 1, 2, OWN, data=True),
    )
}

ORDERS = {solver.id: solver.order for solver in SOLVERS.values()}
STAGES = {solver.id: solver.stages for solver in SOLVERS.values()}
# Solvers whose step depends on nothing but where it starts: local errors, step doubling.
SINGLE_STEP = tuple(solver.id for solver in SOLVERS.values() if solver.memory == 0)
_ALL = tuple(SOLVERS)
# Solvers that evaluate at the listed levels only: the denoiser can be told others in their place.
LISTED = tuple(solver.id for solver in SOLVERS.values() if solver.stages <= 2)
_HIGHER = tuple(solver for solver, order in ORDERS.items() if order > 1)


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        id: name in files and in the configuration.
        label: name in tables and figures.
        group: HAND_MADE, CLOSED_FORM, RIVAL, LEARNED or TRANSFER.
        look: colour (Okabe and Ito's for our own), line style and marker in every figure.
        made_from: PROFILE or STATISTICS, what its schedules are computed from in one job with those of
            others; "" if a rule of its own makes them.
        solvers: None if one schedule serves every solver, else the solvers it is made for, each
            with its own schedule.
        tolerance: relative change of a metric that a rerun on another machine may show.  Learners
            and high derivatives amplify rounding; the rest only repeats it.
    """

    id: str
    label: str
    group: str
    look: tuple[str, str, str]
    made_from: str = ""
    solvers: tuple[str, ...] | None = None
    tolerance: float = 1e-6

    def schedule_solver(self, solver: str) -> str:
        """The <solver> part of this method's schedule path when used with ``solver``."""
        return "any" if self.solvers is None else solver

    def runs_with(self, solver: str) -> bool:
        """Whether the method has a schedule for ``solver``."""
        return self.solvers is None or solver in self.solvers


# Rows whose learners also move the levels that the denoiser is told, and their twins that do not.
LD3, LD3_DECOUPLED = LD3_ROWS = ("ld3", "ld3_decoupled")
DECOUPLED = "art_rl_decoupled"

# Learned or fitted on the endpoint error of a solver, of any.
_fitted = partial(Method, solvers=_ALL, tolerance=5e-2)

METHODS: dict[str, Method] = {
    method.id: method
    for method in (
        Method("uniform", "Uniform", HAND_MADE, ("#a0a0a0", ":", "o")),
        Method("dpm", "DPM (log-SNR)", HAND_MADE, ("#7a7a7a", "--", "s")),
        Method("edm", "EDM (rho = 7)", HAND_MADE, ("#000000", "-.", "^")),
        Method("dpm_no_sigma_min", "DPM without sigma_min", HAND_MADE, ("#7a7a7a", ":", "s")),
        Method("edm_no_sigma_min", "EDM without sigma_min", HAND_MADE, ("#000000", ":", "^")),
        Method("arctan", "Arctan", HAND_MADE, ("#b8a000", "--", "<")),
        Method("cosine", "Cosine", HAND_MADE, ("#b8a000", ":", ">")),
        Method("gaussian", "Gaussian", HAND_MADE, ("#cc79a7", "-", "D")),
        Method("quadrature", "ART closed form", CLOSED_FORM, ("#56b4e9", "-", "v"), PROFILE),
        Method(
            "quadrature_steps", "ART optimum, K steps", CLOSED_FORM, ("#56b4e9", "-.", "d"), PROFILE
        ),
        Method(
            "quadrature_order",
            "ART closed form, order p",
            CLOSED_FORM,
            ("#56b4e9", "--", "v"),
            PROFILE,
            solvers=_HIGHER,
            tolerance=3e-4,  # a fifth derivative's rounding: 8e-5 between two processors
        ),
        Method("propagated", "ART propagated", CLOSED_FORM, ("#0072b2", "-", "P"), PROFILE),
        Method(
            "endpoint",
            "Endpoint (convex)",
            CLOSED_FORM,
            ("#009e73", "-", "X"),
            solvers=SINGLE_STEP,
            tolerance=5e-4,  # 1.7e-4 between two processors
        ),
        Method("gits", "GITS", RIVAL, ("#6a3d9a", "-", "1"), STATISTICS),
        Method("dmn", "DMN", RIVAL, ("#6a3d9a", "--", "2"), STATISTICS),
        Method(
            "score_optimal", "Score-optimal (corrector)", RIVAL, ("#6a3d9a", ":", "3"), STATISTICS
        ),
        Method("entropic", "Rescaled entropic", RIVAL, ("#b15928", "-", "4"), STATISTICS),
        Method("elbo", "ELBO (Watson et al.)", RIVAL, ("#b15928", ":", "+"), STATISTICS),
        Method("ays", "Align Your Steps", RIVAL, ("#b15928", "--", "x"), STATISTICS),
        Method("oss", "Optimal stepsize (OSS)", RIVAL, ("#6a3d9a", "-.", "|")),
        _fitted(LD3, "LD3 (L2)", RIVAL, ("#e31a1c", "-", "8")),
        _fitted(
            LD3_DECOUPLED, "LD3 (L2), decoupled", RIVAL, ("#e31a1c", "--", "H"), solvers=LISTED
        ),
        _fitted("gauss_newton", "Gauss-Newton (endpoint error)", RIVAL, ("#762a83", "--", "X")),
        Method("art_rl", "ART-RL", LEARNED, ("#e69f00", "--", "D"), tolerance=5e-3),
        Method(
            "art_rl_paper", "ART-RL (paper's form)", LEARNED, ("#8c510a", "--", "p"), tolerance=5e-2
        ),
        Method(
            "art_rl_feedback", "ART-RL (feedback)", LEARNED, ("#e69f00", "-", "h"), tolerance=2e-2
        ),
        _fitted("art_rl_endpoint", "ART-RL (endpoint reward)", LEARNED, ("#d55e00", "-", "*")),
        _fitted(
            DECOUPLED,
            "ART-RL (endpoint), decoupled",
            LEARNED,
            ("#d55e00", "--", "H"),
            solvers=LISTED,
        ),
        _fitted(
            "transfer_budget", "ART-RL, resampled from another K", TRANSFER, ("#d55e00", "--", "o")
        ),
        _fitted("transfer_data", "ART-RL, learned on other data", TRANSFER, ("#d55e00", ":", "s")),
    )
}


def made_from(source: str) -> list[str]:
    """Ids of the methods whose schedules are computed from PROFILE or from STATISTICS."""
    return [method.id for method in METHODS.values() if method.made_from == source]


@dataclass(frozen=True)
class Metric:
    """What tables show of a cell; `art_rl.sampling.measures` measures it.

    Attributes:
        id: column of cells files, and name in the configuration.
        label: name in tables.
        axis: name in figures.
        paired: whether every seed block has its own number, so that methods are compared block by block.
    """

    id: str
    label: str
    axis: str
    paired: bool = True


METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("fid", "LeNet-FID", "LeNet-FID"),
        Metric("rmse", "Endpoint RMSE", "endpoint RMSE (data units)"),
        Metric("w2", "Wasserstein-2 distance", "Wasserstein-2 (data units)"),
        Metric("fid_all", "LeNet-FID, all seed blocks together", "LeNet-FID", paired=False),
    )
}


def method(name: str) -> Method:
    """The method with id ``name``; unknown ids are an ArtRLError that lists the known ones."""
    return METHODS[check_known("method", name, METHODS)]


def check_solver(solver: str) -> str:
    """Return ``solver`` if it is known, else raise ArtRLError."""
    return check_known("solver", solver, SOLVERS)


def check_single_step(solver: str) -> str:
    """Return ``solver`` if its step needs no memory of earlier ones, else raise ArtRLError."""
    if check_solver(solver) not in SINGLE_STEP:
        raise ArtRLError(
            f"this needs a single-step solver ({', '.join(SINGLE_STEP)}), got {solver!r}, whose steps "
            "depend on the ones before"
        )
    return solver


def nfe(solver: str, K: int) -> int:
    """Network calls of K steps, the last one of one call: K for one call a step, 2K - 1 Heun, 4K - 3 RK4."""
    return STAGES[check_solver(solver)] * (check_budget(K) - 1) + 1


@dataclass(frozen=True)
class Kind:
    """A kind of model: what the rules need to know of it; everything else is its builder's.

    Attributes:
        id: ``kind`` in the configuration.
        builder: module with its ``denoiser`` and ``measures`` (see `art_rl.sampling.experiment`).
        network: how its weights come to be: "train", "convert", or "" (it has none).
        features: the feature network of its FID: "train" (a LeNet, here), "check" (Inception, an asset), or
            "" (it has no FID).
        reference: whether samples are compared with a fine solution from the same noise (RMSE).
        assets: keys of its settings that name assets.
    """

    id: str
    builder: str
    network: str = ""
    features: str = ""
    reference: bool = True
    assets: tuple[str, ...] = ()


_EDM_ASSETS = ("checkpoint", "reference", "inception")

KINDS: dict[str, Kind] = {
    kind.id: kind
    for kind in (
        Kind("exact", "art_rl.sampling.kinds.exact"),
        Kind("image", "art_rl.sampling.kinds.image", "train", "train"),
        Kind("edm", "art_rl.sampling.kinds.edm", "convert", "check", False, _EDM_ASSETS),
    )
}


def kind_of(model: Mapping[str, Any]) -> Kind:
    """The kind of a model's settings: the one place that asks; ArtRLError for an unknown one."""
    return KINDS[check_known("kind of model", model.get("kind", "exact"), KINDS)]
