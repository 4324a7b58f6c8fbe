"""What the figures of networks read, image models and checkpoints alike."""

from pathlib import Path

from art_rl.files import read_json, read_json_lines
from art_rl.registry import METHODS
from art_rl.report.figures import save
from art_rl.report.tables import read_rows


def learner_label(path):
    """Label of the method behind <learner>/seed<n>/<file>: learners are named after their methods."""
    name = Path(path).parent.parent.name
    known = METHODS.get(f"art_rl_{name}")
    return known.label if known else name


def evaluated(path):
    """Rows of a clock's metrics at which its objective was evaluated."""
    return [row for row in read_json_lines(path) if row["ratio"] is not None]


def learning_curves(files):
    """Arguments of learning_curves_figure: clocks by label, endpoint runs by solver, the criterion.

    Args:
        files: the rule's input, with clocks, endpoint and reports.
    """
    clocks = {learner_label(path): evaluated(path) for path in files.clocks}
    endpoint = {
        Path(path).parent.parent.name.rsplit("_", 1)[-1]: read_json_lines(path)
        for path in files.endpoint
    }
    criteria = [read_json(path)["report"]["criterion"] for path in files.reports]
    return clocks, endpoint, min(criteria, default=None)


def thetas(paths):
    """theta(t) and its band by the label of the learner."""
    return {learner_label(path): read_rows(path) for path in paths}


def sampled_cells(rows, solver, names):
    """(methods, budgets that all of them were sampled at, NFE by budget) of one solver's previews.

    Args:
        rows: of cells files.
        names: ids of the methods to show, as far as they were sampled.
    """
    own = [row for row in rows if row["solver"] == solver]
    cells = {(row["method"], row["K"]) for row in own}
    methods = [name for name in METHODS if name in names and name in {m for m, _ in cells}]
    nfe = {row["K"]: row["nfe"] for row in own}
    common = [K for K in sorted(nfe) if all((name, K) in cells for name in methods)]
    return methods, common, nfe


def save_figures(figures, paths, model):
    """Draw and save every figure that has a path <model>_<kind>.<suffix>.

    Args:
        figures: kind -> function that draws it.
    """
    targets = {}
    for path in paths:
        targets.setdefault(Path(path).stem.removeprefix(f"{model}_"), []).append(path)
    for kind, files in targets.items():
        save(figures[kind](), files)
