"""What runs and what is drawn is decided by the tables alone, with configurations of one's own."""

import pytest
import yaml
from running import snakemake, succeeded

from art_rl.files import write_json
from art_rl.report.figures import save
from art_rl.report.model_figures import ModelFigures
from art_rl.report.tables import write_rows
from art_rl.schedules.hand_made import baseline_schedule

DEFAULT_FIGURES = {"methods": ["uniform", "dpm", "edm", "gaussian"], "budgets": [5, 10]}
OWN = {
    "name": "own",
    "models": {
        "mine": {
            "target": {"kind": "gaussian", "std": 0.5},
            "sigma_min": 0.002,
            "sigma_max": 10.0,
            "start": "noise",
        },
        "spare": {
            "kind": "image",
            "data": "digits",
            "network": {"channels": [8]},
            "training": {"iterations": 5},
            "sigma_min": 0.002,
            "sigma_max": 80.0,
            "sampling": {"samples": 10, "seed_blocks": 1, "shard": 10, "batch": 10},
        },
    },
    # Neither a Gaussian nor an EDM row, none of the default figures' budgets, no Euler table.
    "methods": ["cosine", "arctan"],
    "tables": {
        "mine_heun": {"model": "mine", "solver": "heun", "budgets": [3], "metrics": ["rmse"]}
    },
    "evaluation": {"samples": 50, "seed_blocks": 1, "reference_steps": 16},
}


def test_tables_without_the_usual_rows_run_to_the_end(tmp_path):
    """No row that figures or the notebook look for first; a model that no table names is not trained."""
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    succeeded(snakemake(tmp_path, config="own.yaml"))
    figures = {path.name for path in (tmp_path / "paper_figures/own").iterdir()}
    assert {
        "mine_heun_rmse.md",
        "mine_error.png",
        "mine_schedules.pdf",
        "provenance.json",
    } <= figures
    assert not {"mine_profile.png", "mine_theta.png", "objectives.md"} & figures
    assert (tmp_path / "results/notebooks/01_inspect_schedules.ipynb").exists()
    assert {path.name for path in (tmp_path / "results").iterdir()} >= {"mine"}
    assert not (tmp_path / "results/spare").exists() and not (tmp_path / "results/digits").exists()


def figures_of(folder, methods, budgets):
    """Figures of the default settings, from cells and schedules of the methods of every solver."""
    cells, schedules = {solver: [] for solver in methods}, []
    for solver, name, K in ((s, n, K) for s in methods for n in methods[s] for K in budgets):
        path = folder / f"schedules/{name}/{solver}/K{K}.json"
        baseline_schedule(name, K, 10.0, 0.002, 0.5).save(path)
        schedules.append(str(path))
        cell = {"model": "m", "method": name, "solver": solver, "K": K, "nfe": K}
        cells[solver].append({**cell, "block": 0, "samples": 9, "rmse": 1 / K, "converged": True})
    for solver, rows in cells.items():
        write_rows(folder / f"{solver}.csv", rows)
    write_json(folder / "provenance.json", {"floors": {}, "metric_labels": {}})
    files = {"cells": [folder / f"{solver}.csv" for solver in cells], "schedules": schedules}
    files["provenance"] = [folder / "provenance.json"]
    return ModelFigures("m", {"sigma_min": 0.002}, files, DEFAULT_FIGURES, ["rmse"])


@pytest.mark.parametrize(
    ("methods", "budgets", "drawn"),
    [
        (["uniform", "edm"], [2, 5], [5]),  # a wanted budget is there
        (["uniform", "edm"], [2, 3], [2, 3]),  # none is: those that are
        (["cosine"], [2, 3, 4, 6, 7, 8], [2, 4, 6, 8]),  # not even a wanted method
    ],
)
def test_figures_draw_what_is_there(tmp_path, methods, budgets, drawn):
    figures = figures_of(tmp_path, {"euler": methods}, budgets)
    shown = figures.draw("schedules")
    assert [axis.get_title() for axis in shown.axes] == [f"K = {K}" for K in drawn]
    save(shown, [tmp_path / "s.png"])
    save(figures.draw("error"), [tmp_path / "e.png"])
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("s.png", "e.png"))


def test_a_solver_whose_tables_have_none_of_the_drawn_methods_has_lines_too(tmp_path):
    """Its panel was empty, and the schedules of a first solver without them ended the run."""
    figures = figures_of(tmp_path, {"euler": ["cosine"], "heun": ["edm", "arctan"]}, [2, 3])
    assert [len(axis.lines) for axis in figures.draw("error").axes] == [1, 1]
    assert len(figures.draw("schedules").axes[0].lines) == 1
