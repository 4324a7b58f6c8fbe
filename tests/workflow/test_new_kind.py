"""A new kind of model is its settings and one builder: rules' scripts, cells and tables take it as it is."""

import sys
import types
from pathlib import Path

from running import job, rule

from art_rl import registry
from art_rl.denoisers.exact import Gaussian
from art_rl.experiments.products import Products
from art_rl.report.tables import read_rows
from art_rl.sampling.measures import EndpointRMSE
from art_rl.schedules.hand_made import baseline_schedule

# The kind: its denoiser and measures, a line of the registry, and settings.
TOY = types.ModuleType("toy_kind")
TOY.measures = lambda settings, files, **_: [EndpointRMSE(files.reference)]
TOY.denoiser = lambda settings, *_: Gaussian(settings["spread"], dim=3)
MODEL = {"kind": "toy", "spread": 0.5, "sigma_min": 0.002, "sigma_max": 10.0}
SAMPLING = {"samples": 6, "shard": 4, "batch": 4, "seed_blocks": 2, "reference_steps": 64}


def test_a_new_kind_goes_through_the_pipeline(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "toy_kind", TOY)
    monkeypatch.setitem(registry.KINDS, "toy", registry.Kind("toy", "toy_kind"))
    table = {"model": "m", "solver": "heun", "budgets": [3, 50], "metrics": ["rmse"]}
    model = {**MODEL, "sampling": SAMPLING}
    common = {"methods": ["gaussian"], "learners": {}, "assets": {}, "evaluation": {}}
    products = Products(
        {"name": "toy", "models": {"m": model}, "tables": {"t": table}, **common}, "."
    )
    targets = products.targets
    here = lambda path: str(tmp_path / path.removeprefix("<results>/"))  # noqa: E731
    schedules = [here(path) for path in products.schedules_of("m")]
    for path in schedules:
        baseline_schedule("gaussian", int(Path(path).stem[1:]), 10.0, 0.002, 0.5).save(path)
    base = {"network": [], "features": [], "schedules": schedules, "numerics": []}
    params = {
        "model": model,
        "sampling": SAMPLING,
        "preview": 0,
        "cells": targets.cells_of("m", "heun"),
    }
    for part, shards in zip(products.sampled("m"), targets.parts("m"), strict=True):
        own, reference = (
            {**params, "shards": targets.shards_of("m", shards)},
            here(f"r/{shards}.npz"),
        )
        output = {"endpoints": reference, "facts": reference.replace(".npz", ".json")}
        names = {"model": "m"}
        rule("solve_reference.py")(job(input=base, output=output, params=own, wildcards=names))
        work = job(
            input={**base, "reference": [reference]},
            output={"parts": here(part)},
            params=own,
            wildcards=names,
        )
        rule("sample_cells.py")(work)
    files = {"target": [], "target_facts": [], "network_facts": [], "schedules": schedules}
    files |= {"parts": [here(path) for path in products.sampled("m")]}
    files |= {"reference": [here(f"r/{part}.json") for part in targets.parts("m")]}
    params = {
        "name": "m",
        "model": model,
        "solvers": ["heun"],
        "pooled": False,
        "cells": {"heun": targets.blocks("m", "heun")},
    }
    out = {"cells": [here("c.csv")], "provenance": [here("c.json")]}
    rule("evaluate_cells.py")(job(input=files, output=out, params=params))
    rows = {(row["K"], row["block"]): row["rmse"] for row in read_rows(here("c.csv"))}
    assert len(rows) == 4 and rows[50, 0] < rows[3, 0] / 20
