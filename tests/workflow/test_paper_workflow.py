"""Official checkpoints through the workflow: one run end to end without the internet.

The run serves self-made files in the official layouts (paper_mirror.py) from a local web server.
"""

import functools
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from paper_mirror import make_mirror
from PIL import Image
from running import ROOT, run_paper, succeeded

from art_rl.denoisers.edm import load_network
from art_rl.files import read_json, read_npz
from art_rl.flow.seeds import to_uint8
from art_rl.metrics.features import inception_features
from art_rl.metrics.frechet import (
    Moments,
    frechet_distance,
    load_reference,
)
from art_rl.report.tables import read_rows
from art_rl.sampling.png import png_path
from art_rl.sampling.shards import sample_batches
from art_rl.schedules.schedule import Schedule

RESULTS = Path("results/paper_smoke")
FIGURES = RESULTS / "figures/paper_smoke"


# One run of everything.


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Address of a local web server with the self-made files."""
    folder = make_mirror(tmp_path_factory.mktemp("mirror"))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def finished(mirror, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    succeeded(run_paper(folder, mirror))
    return folder


def test_tables_stand_beside_the_paper(finished):
    numbers = read_json(ROOT / "src/art_rl/report/paper_tables.json")["tables"]
    cells = read_rows(finished / RESULTS / "tiny/cells/heun.csv")
    rows = {
        (r["method"], r["K"]): r for r in read_rows(finished / FIGURES / "table2_beside_paper.csv")
    }
    assert {key[0] for key in rows} == {"dpm", "edm", "quadrature", "art_rl_paper"}
    for label, method in (("DPM", "dpm"), ("EDM", "edm"), ("ART-RL", "art_rl_paper")):
        for K, theirs in zip(
            numbers["table_2"]["K"], numbers["table_2"]["rows"][label], strict=True
        ):
            if K not in (2, 3):
                continue
            runs = [c["fid"] for c in cells if (c["method"], c["K"]) == (method, K)]
            row = rows[method, K]
            assert len(runs) == 2 and row["blocks"] == 2 and row["nfe"] == 2 * K - 1
            assert row["min"] == min(runs) and row["paper"] == theirs
            assert row["mean"] == pytest.approx(np.mean(runs))
            assert row["sd"] == pytest.approx(np.std(runs, ddof=1))
            assert row["difference"] == pytest.approx(min(runs) - theirs)
    assert "paper" not in rows["quadrature", 2]
    # Tables 5 and 6 name the paper's ART-RL beside the schedules carried over.
    five = {r["method"]: r for r in read_rows(finished / FIGURES / "table5_beside_paper.csv")}
    assert five["transfer_budget"]["paper"] == 33.73 and five["edm"]["paper"] == 85.8
    six = {r["method"]: r for r in read_rows(finished / FIGURES / "table6_beside_paper.csv")}
    assert six["transfer_data"]["paper"] == 243.48
    assert "FID (Inception)" in (finished / FIGURES / "table2_fid.md").read_text()
    for name in (
        "table3_beside_paper.tex",
        "tiny_learning.pdf",
        "tiny_theta.pdf",
        "other_fid_nfe.png",
    ):
        assert (finished / FIGURES / name).stat().st_size > 500, name
    notebook = json.loads((finished / RESULTS / "notebooks/04_edm_checkpoint.ipynb").read_text())
    assert any(cell.get("outputs") for cell in notebook["cells"])


def test_a_cell_is_the_fid_of_its_seeds(finished):
    """One cell computed by hand: snapshot -> network -> samples -> features -> distance."""
    folder = finished / RESULTS / "tiny"
    denoiser = load_network(folder / "network.safetensors", folder / "network.json")
    assert denoiser.label_dim == 10 and denoiser.shape == (3, 32, 32)
    schedule = Schedule.load(folder / "schedules/edm/any/K3.json")
    resources = finished / RESULTS / "resources"
    features = inception_features(resources / "inception/tiny-inception.pth")
    images = [to_uint8(x) for _, x in sample_batches(denoiser, schedule, "heun", [2, 3], 2)]
    a = Moments.of(features(torch.cat(images)).numpy()).mean_and_covariance()
    exact = frechet_distance(*a, *load_reference(resources / "fid_refs/tiny.npz"))
    rows = read_rows(folder / "cells/heun.csv")
    (row,) = [r for r in rows if (r["method"], r["K"], r["block"]) == ("edm", 3, 1)]
    # 1e-6: two ways to the trace of the root, see Target.
    assert row["samples"] == 2 and row["fid"] == pytest.approx(exact, rel=1e-6)
    previews = read_npz(folder / "cells/heun_previews.npz")
    assert previews["edm_K3"].shape == (2, 3, 32, 32) and previews["edm_K3"].dtype == np.uint8


def test_shards_are_merged_and_schedules_carried_over(finished):
    folder = finished / RESULTS
    rows = read_rows(folder / "other/cells/heun.csv")
    assert {row["samples"] for row in rows} == {3}
    shards = sorted(folder.glob("other/shards/heun/block*.json"))
    cells = [read_json(path)["cells"] for path in shards]
    assert all(
        {(c["method"], c["K"]) for c in own} == {("edm", 2), ("transfer_data", 2)} for own in cells
    )
    files = [
        path.with_suffix(".cells") / own[0]["file"] for path, own in zip(shards, cells, strict=True)
    ]
    assert [read_npz(path)["seeds"].tolist() for path in files] == [[0, 1], [2]]
    # sampling.png: every cell's images, whatever the shard; the preview holds the first ones.
    previews = read_npz(folder / "other/cells/heun_previews.npz")
    images = folder / "other/png/heun/edm_K2"
    assert {path.name for path in images.rglob("*.png")} == {f"{seed:06d}.png" for seed in range(3)}
    for seed, image in enumerate(previews["edm_K2"]):
        with Image.open(png_path(images, seed)) as file:
            assert np.array_equal(np.asarray(file).transpose(2, 0, 1), image)
    learned = Schedule.load(folder / "tiny/schedules/art_rl_paper/any/K2.json")
    carried = Schedule.load(folder / "other/schedules/transfer_data/heun/K2.json")
    assert carried.sigmas == learned.sigmas and carried.provenance["method"] == "transfer_data"
    resampled = Schedule.load(folder / "tiny/schedules/transfer_budget/heun/K4.json")
    source = Schedule.load(folder / "tiny/schedules/art_rl_paper/any/K3.json")
    assert resampled.sigmas == source.resample(4).sigmas


def test_files_are_locked_and_nothing_reruns(finished, mirror):
    lock = read_json(finished / RESULTS / "resources/assets.lock.json")
    assert set(lock) == {"tiny-cond", "tiny-uncond", "tiny-reference", "tiny-inception"}
    facts = read_json(finished / RESULTS / "tiny/network.json")
    assert facts["source"]["sha256"] == lock["tiny-cond"]["sha256"]
    again = run_paper(finished, mirror, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
