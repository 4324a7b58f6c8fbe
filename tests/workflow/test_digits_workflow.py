"""The digits end to end: data, network, features, learners, cells, tables and figures."""

import json

import pytest
from running import ROOT, snakemake, succeeded

from art_rl.files import read_json, read_npz
from art_rl.metrics.frechet import Moments, frechet_between, merge
from art_rl.report.tables import read_rows


def check_pooled_fid(tmp_path, folder):
    """fid_all is the FID of both blocks' 60 images, from moments merged here."""
    cells = [row for row in read_rows(tmp_path / "results/digits/cells/euler.csv") if row["K"] == 2]
    shards = tmp_path / "results/digits/shards/euler"
    moments = []
    for path in sorted(shards.glob("*.json")):
        (entry,) = (
            entry
            for entry in read_json(path)["cells"]
            if (entry["method"], entry["K"]) == ("edm", 2)
        )
        arrays = read_npz(path.with_suffix(".cells") / entry["file"])
        moments.append(Moments(int(arrays["fid.n"]), arrays["fid.total"], arrays["fid.centred"]))
    assert sum(each.n for each in moments) == 60
    target = Moments.load(tmp_path / "results/digits/moments_train.npz")
    own = [row for row in cells if row["method"] == "edm"]
    expected = frechet_between(merge(moments), target)
    assert [row["fid_all"] for row in own] == pytest.approx([expected] * 2, rel=1e-9)
    assert expected not in [row["fid"] for row in own]
    text = (folder / "digits_euler_fid_all.md").read_text()
    assert "LeNet-FID, all seed blocks together" in text and "Test set against" in text
    assert "±" not in text


def test_digits_end_to_end(tmp_path):
    """Data to tables and figures through Snakemake: digits_smoke, two shards per block."""
    folder = tmp_path / "paper_figures/digits_smoke"
    names = ["digits_euler_fid.csv", "digits_wins.md", "table5_digits_euler_rmse.md"]
    names += ["digits_trust.md", "digits_fid_nfe.png", "digits_samples_euler.pdf"]
    wanted = [*names, "digits_euler_fid_all.md"]
    targets = [f"paper_figures/digits_smoke/{name}" for name in wanted]
    succeeded(snakemake(tmp_path, *targets, config=ROOT / "config/digits_smoke.yaml"))
    table = (folder / names[0]).read_text()
    assert "art_rl_endpoint" in table and "Reference solution, same noise" in table
    facts = json.loads((tmp_path / "results/digits/cells/euler.provenance.json").read_text())
    assert facts["reference"]["solver"] == "rk4"
    assert 0 < facts["reference"]["error"] < 0.03  # measured with its 8 steps: 0.014
    assert len(list((tmp_path / "results/digits/shards/euler").glob("*.json"))) == 4
    assert "resampled from another K" in (folder / names[2]).read_text()
    assert "One seed block" in (folder / names[2]).read_text(), "as its seed_blocks says"
    check_pooled_fid(tmp_path, folder)
    assert "30 samples" in (folder / "digits_trust.md").read_text()
    for name in names[4:]:
        assert (folder / name).stat().st_size > 5000
