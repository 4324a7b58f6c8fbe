"""What a reader gets: tables, figures, notebooks and exported schedules, and the target of a run.

The half of `art_rl.experiments.products.Products` that is about products for readers.
"""

from collections.abc import Sequence
from pathlib import Path

from art_rl.experiments.targets import Targets
from art_rl.registry import CLOSED_FORM, LEARNED, RIVAL, method

TABLE_SUFFIXES = ("csv", "md", "tex")
FIGURE_SUFFIXES = ("pdf", "png")


def schedule_path(model: str, name: str, solver: str, K: int | str) -> str:
    """Where the schedule of a cell lies; ``solver`` may be "any"."""
    used = solver if solver == "any" else method(name).schedule_solver(solver)
    return f"<results>/{model}/schedules/{name}/{used}/K{K}.json"


class Reports:
    """See `art_rl.experiments.products.Products`."""

    root: Path
    folder: str
    targets: Targets

    def exported(self) -> dict[str, str]:
        """Where schedules of networks are copied to, for use elsewhere -> where they come from."""
        targets, found = self.targets, {}
        for model in targets.used():
            for cell in targets.exported(model) if targets.kind(model).network else ():
                name, solver, K = cell
                stem = f"{model}_{name}_{solver}_K{K}"
                found[f"{self.folder}/schedules/{stem}.json"] = schedule_path(model, *cell)
        return found

    def table_outputs(self, model: str) -> dict[str, dict[str, str]]:
        """Tables of a model: path -> labels in the report (empty: not in it)."""
        found: dict[str, dict[str, str]] = {}

        def add(stem: str, table: str, shown: str, suffixes: Sequence[str]) -> None:
            for suffix in suffixes:
                labels = {"model": model, "table": table, "metric": shown}
                found[f"{self.folder}/{stem}.{suffix}"] = labels if suffix == "csv" else {}

        for table, entry in self.targets.tables.items():
            if entry["model"] == model:
                for metric in entry["metrics"]:
                    add(f"{table}_{metric}", table, metric, TABLE_SUFFIXES)
                if self.targets.beside_paper(table):
                    add(f"{table}_beside_paper", table, "FID beside the paper's", TABLE_SUFFIXES)
        if self.targets.has_learned(model):
            add(f"{model}_wins", "wins, ties, losses", "all", ("csv", "md"))
        return found

    def extra_outputs(self, model: str) -> list[str]:
        """Of the ablation of the range in which |Q| is trusted, and of the left-end sum, where asked for."""
        extras = {"trust_ablation": ("trust", "csv md"), "left_sum": ("left_sum", "pdf png md")}
        return [
            f"{self.folder}/{model}_{stem}.{suffix}"
            for key, (stem, suffixes) in extras.items()
            for suffix in suffixes.split()
            if self.targets.models[model].get(key)
        ]

    def figure_kinds(self, model: str) -> list[str]:
        """Figures of a model, by what there is to draw."""
        targets, kind = self.targets, self.targets.kind(model)
        errors = ["error"]
        if kind.features:
            errors = ["fid_nfe"] + ["rmse_nfe"] * kind.reference
        kinds = [*errors, "schedules"]
        kinds += ["profile"] * targets.has_profile(model)
        kinds += ["theta", "learning"] * bool(targets.fine_runs(model))
        kinds += ["loss"] * (kind.network == "train")
        solvers = targets.solvers(model) if kind.features else []
        return kinds + [f"samples_{solver}" for solver in solvers]

    def figure_paths(self, model: str, suffix: str) -> dict[str, str]:
        """Files of a model's figures by kind."""
        kinds = self.figure_kinds(model)
        return {kind: f"{self.folder}/{model}_{kind}.{suffix}" for kind in kinds}

    def tables(self, *suffixes: str) -> list[str]:
        """Every rendered table of every model."""
        paths = [p for m in self.targets.used() for p in self.table_outputs(m)]
        return [path for path in paths if path.rsplit(".", 1)[1] in (suffixes or TABLE_SUFFIXES)]

    def rival_reports(self) -> list[str]:
        """ART-RL beside its rivals, for every model whose tables have both.

        Gauss-Newton alone asks for none: it is a row of most tables and has no statistic to measure.
        """
        targets = self.targets
        found = []
        for model in targets.used():
            names = set(targets.methods(model)) - {"gauss_newton"}
            if "art_rl_endpoint" in names and RIVAL in {method(name).group for name in names}:
                stem = f"{self.folder}/{model}"
                found += [f"{stem}_rivals.md", f"{stem}_frontier.png"]
        return found

    def counted_models(self) -> list[str]:
        """Models in the table of costs: with fitted or learned rows, EDM beside them, and a measured RMSE."""
        targets = self.targets
        return [
            model
            for model in targets.used()
            if targets.kind(model).reference
            and "edm" in targets.methods(model)
            and {CLOSED_FORM, RIVAL, LEARNED} & {method(m).group for m in targets.methods(model)}
        ]

    def cost_reports(self) -> list[str]:
        """What learning costs, all models in one table and one figure."""
        suffixes = (*TABLE_SUFFIXES, *FIGURE_SUFFIXES) if self.counted_models() else ()
        return [f"{self.folder}/costs.{suffix}" for suffix in suffixes]

    def notebooks(self) -> list[str]:
        """Executed notebooks, those on networks only where tables name one.

        The .ipynb of a pair is made from its percent script.
        """
        kinds = {self.targets.kind(model).network for model in self.targets.used()}
        wanted = {"image": "train", "edm": "convert"}
        found = []
        for path in sorted((self.root / "notebooks").glob("*.py")):
            needs = [network for word, network in wanted.items() if word in path.stem]
            if all(network in kinds for network in needs):
                found.append(f"<results>/notebooks/{path.stem}.ipynb")
        return found

    def everything(self) -> list[str]:
        """The target of a run."""
        targets, paths = self.targets, self.tables()
        for model in targets.used():
            for suffix in FIGURE_SUFFIXES:
                paths += self.figure_paths(model, suffix).values()
            paths += self.extra_outputs(model)
        if targets.all_runs():
            paths += [f"{self.folder}/objectives.{suffix}" for suffix in TABLE_SUFFIXES]
        paths += [f"{self.folder}/provenance.json", *self.rival_reports()]
        paths += [*self.cost_reports(), *self.notebooks()]
        return [*paths, *self.exported()]
