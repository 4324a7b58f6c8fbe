"""All figures of one model, of whatever kind it is: each draws what rows there are.

error, fid_nfe, rmse_nfe    cells against steps or network calls
schedules                   noise levels against the step
profile                     |Q| and the flow's sensitivity
theta, learning             what the learned clocks look like, and how they got there
loss                        of a network trained here
samples_<solver>            images from the same noise
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from art_rl.errors import ArtRLError
from art_rl.files import read_json, read_json_lines, read_npz
from art_rl.registry import METHODS, METRICS, ORDERS
from art_rl.report.curves import learning_figure, profile_figure, theta_figure
from art_rl.report.figures import SOLVER_NAMES, error_figure, schedule_figure
from art_rl.report.image_figures import (
    learning_curves_figure,
    loss_figure,
    network_profile_figure,
    nfe_figure,
    sample_figure,
    spread,
)
from art_rl.report.tables import read_rows
from art_rl.schedules.profile import Profile
from art_rl.schedules.schedule import Schedule

# Sample figures show at most so many budgets, schedule figures too if none of the wanted ones is there.
BUDGETS = 4
SAMPLED = ("uniform", "dpm", "edm", "arctan", "gaussian", "quadrature", "art_rl_endpoint")
CARRIED = ("art_rl_paper", "transfer_budget", "transfer_data")


class ModelFigures:
    """Figures of one model from the files of its run.

    Args:
        model: its name; settings: its block of the configuration.
        files: lists of paths by name: cells, provenance, previews, schedules, profile, optimum, clocks,
            reports, thetas, endpoint, losses; what is missing is an empty list.
        figures: the block ``figures`` of the configuration: methods and budgets to draw where they exist.
        runs: (learner, label, seed) of the fine clocks, in the order of ``files["clocks"]``.
        budgets: of the error figures.
        network: whether the model is a network.
    """

    def __init__(
        self,
        model: str,
        settings: Mapping[str, Any],
        files: Mapping[str, Sequence[str]],
        figures: Mapping[str, Any],
        metrics: Sequence[str],
        runs: Sequence[tuple[str, str, int]] = (),
        budgets: Sequence[int] = (),
        network: bool = False,
    ) -> None:
        self.model, self.settings, self.files, self.network = model, settings, files, network
        self.metrics, self.runs = metrics, runs
        self.rows = [row for path in files["cells"] for row in read_rows(path)]
        self.solvers = list(dict.fromkeys(row["solver"] for row in self.rows))
        wanted = {*figures["methods"], *(CARRIED if network else ())}
        drawn: set[str] = set()
        for solver in self.solvers:
            present = {row["method"] for row in self.rows if row["solver"] == solver}
            # A panel of nothing helps nobody: with none of the wanted methods, all are drawn.
            drawn |= wanted & present or present
        self.methods = [name for name in METHODS if name in drawn]
        self.wanted_budgets = figures["budgets"]
        self.tables = [row for row in self.rows if not budgets or row["K"] in budgets]
        self.provenance = read_json(files["provenance"][0])

    def draw(self, kind: str) -> Figure:
        """One figure; ArtRLError for a kind that does not exist."""
        if kind.startswith("samples_"):
            return self._samples(kind.removeprefix("samples_"))
        known: dict[str, Callable[[], Figure]] = {
            "error": self._error,
            "fid_nfe": lambda: self._nfe("fid"),
            "rmse_nfe": lambda: self._nfe("rmse"),
            "schedules": self._schedules,
            "profile": self._profile,
            "theta": self._theta,
            "learning": self._learning,
            "loss": lambda: loss_figure(read_json(self.files["losses"][0])),
        }
        if kind not in known:
            raise ArtRLError(f"no figure {kind!r}; known: {', '.join(known)}, samples_<solver>")
        return known[kind]()

    def _error(self) -> Figure:
        # The last line of each: exact samples of the same size, the reference's own error.
        lines = self.provenance["floors"].items()
        floors = {metric: list(values.values())[-1] for metric, values in lines}
        return error_figure(self.rows, self.solvers, self.metrics, self.methods, floors)

    def _nfe(self, metric: str) -> Figure:
        solvers = sorted(self.solvers, key=lambda solver: ORDERS[solver])
        floors = self.provenance["floors"].get(metric)
        own = self.provenance["metric_labels"].get(metric, METRICS[metric].label)
        label = own if metric == "fid" else None
        return nfe_figure(self.tables, solvers, metric, self.methods, floors, label)

    def _schedules(self) -> Figure:
        # Exact models show their first solver; networks that of the highest order.
        solver = max(self.solvers, key=lambda s: ORDERS[s]) if self.network else self.solvers[0]
        found = {}
        for path in self.files["schedules"]:
            method, made_for, name = Path(path).parts[-3:]
            K = int(Path(name).stem.removeprefix("K"))
            if method in self.methods and made_for in ("any", solver):
                found[method, K] = path
        own = {row["K"] for row in self.rows if row["solver"] == solver}
        there = sorted({K for _, K in found} & own) or sorted({K for _, K in found})
        shown = [K for K in self.wanted_budgets if K in there] or spread(there, BUDGETS)
        levels = {key: Schedule.load(path).sigmas for key, path in found.items() if key[1] in shown}
        figure = schedule_figure(levels, self.methods, self.settings["sigma_min"])
        if self.network:
            figure.suptitle(f"schedules for {SOLVER_NAMES[solver]}", fontsize=8)
        return figure

    def _profile(self) -> Figure:
        path = Path(self.files["profile"][0])
        if self.network:
            return network_profile_figure(Profile.load(path))
        return profile_figure(read_rows(path.with_suffix(".csv")))

    def _theta(self) -> Figure:
        clocks: dict[str, list[dict[str, Any]]] = {}
        for (_, label, _), path in zip(self.runs, self.files["thetas"], strict=True):
            clocks.setdefault(label, read_rows(path))  # the first seed of each learner
        return theta_figure(clocks, read_rows(self.files["optimum"][0]))

    def _learning(self) -> Figure:
        reports = [read_json(path)["report"] for path in self.files["reports"]]
        curves: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for (_, label, seed), path in zip(self.runs, self.files["clocks"], strict=True):
            rows = [row for row in read_json_lines(path) if row["ratio"] is not None]
            curves.setdefault(label, {})[seed] = rows
        criterion = min(report["criterion"] for report in reports)
        if not self.network:
            bound = reports[0]["per_trajectory_bound"] / reports[0]["closed_form"]
            return learning_figure(curves, bound, criterion)
        clocks = {label: next(iter(seeds.values())) for label, seeds in curves.items()}
        endpoint = {
            Path(path).parent.parent.name.rsplit("_", 1)[-1]: read_json_lines(path)
            for path in self.files["endpoint"]
        }
        return learning_curves_figure(clocks, endpoint, criterion)

    def _samples(self, solver: str) -> Figure:
        path = next(p for p in self.files["previews"] if Path(p).stem == f"{solver}_previews")
        own = [row for row in self.tables if row["solver"] == solver]
        own = own or [row for row in self.rows if row["solver"] == solver]
        cells = {(row["method"], row["K"]) for row in own}
        there = {name for name, _ in cells}
        names = [n for n in METHODS if n in (*SAMPLED, *CARRIED) and n in there] or sorted(there)
        nfe = {row["K"]: row["nfe"] for row in own}
        common = [K for K in sorted(nfe) if all((name, K) in cells for name in names)]
        while not common:  # rows of several tables without a common budget: fewer of them
            names = names[:-1]
            common = [K for K in sorted(nfe) if all((name, K) in cells for name in names)]
        return sample_figure(read_npz(path), names, spread(common, BUDGETS), nfe, solver)
