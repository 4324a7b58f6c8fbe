"""Image models through the workflow: cells, shards, transfer, comparison, and one run end to end."""

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from art_rl.denoisers.exact import GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.files import read_json, read_npz
from art_rl.learning import TableEnvironment
from art_rl.learning.trust import trusted_table
from art_rl.metrics.frechet import Moments, frechet_between, merge
from art_rl.report.comparison import compare, comparison_markdown
from art_rl.report.tables import read_rows
from art_rl.sampling.experiment import build_experiment
from art_rl.settings.experiment import check_configuration
from art_rl.training.datasets import load_data

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ["digits_smoke", "digits_full", "mnist", "mnist_smoke"]
SIGMAS = {2: (80.0, 1.0, 0.0), 3: (80.0, 2.0, 0.3, 0.0)}


@pytest.fixture
def model():
    """Gaussian data of the shape of an image."""
    return GaussianMixture([1.0], [[0.0] * 4], [0.5], shape=(1, 2, 2))


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_satisfy_the_schema(name):
    settings = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    checked = check_configuration(settings)
    assert any(model["kind"] == "image" for model in checked["models"].values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smaples": 3}, "smaples"),
        ({"samples": 0}, "sampling.samples must be at least 2"),
        ({"device": "tpu"}, "device must be one of"),
        ({"png": True}, "unknown key .models.digits.sampling.png."),
    ],
)
def test_misspelt_sampling_settings_are_named(change, message):
    settings = yaml.safe_load((ROOT / "config/digits_smoke.yaml").read_text())
    settings["models"]["digits"]["sampling"].update(change)
    with pytest.raises(ArtRLError, match=message):
        check_configuration(settings)


def test_image_model_without_network_is_refused():
    config = {"kind": "image", "sigma_min": 0.002, "sigma_max": 80.0}
    with pytest.raises(ArtRLError, match="network's file is needed"):
        build_experiment("digits", config)


def rows(values, metric="rmse"):
    return [
        {"solver": "heun", "K": 5, "nfe": 9, "method": method, "block": block, metric: value}
        for method, runs in values.items()
        for block, value in enumerate(runs)
    ]


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([1.0, 2.0, 3.0], "win"),  # always 1 below, whatever the spread between blocks
        ([3.0, 4.0, 5.0], "loss"),
        ([1.0, 4.2, 3.9], "tie"),  # below, above, below
    ],
)
def test_outcomes_are_paired(ours, outcome):
    cells = rows({"edm": [2.0, 3.0, 4.0], "art_rl_endpoint": ours, "art_rl_paper": [9.0] * 3})
    (result,) = compare(cells, ["art_rl_paper", "art_rl_endpoint"], ["edm"], "rmse")
    assert result["learned"] == "art_rl_endpoint"
    assert result["outcome"] == outcome
    assert result["ratio"] == pytest.approx(sum(ours) / 9)


def test_comparison_counts_and_lists_what_is_not_won():
    cells = rows(
        {
            "edm": [2.0, 3.0],
            "gaussian": [0.5, 0.4],
            "art_rl_endpoint": [1.0, 2.0],
            "art_rl_paper": [5.0, 6.0],
        }
    )
    baselines = ["edm", "gaussian"]
    forms = {
        form: compare(cells, [form], baselines, "rmse")
        for form in ("art_rl_endpoint", "art_rl_paper")
    }
    text = comparison_markdown(compare(cells, list(forms), baselines, "rmse"), forms, "m")
    assert "| EDM (rho = 7) | 1 / 0 / 0 | 1 / 0 / 0 |" in text
    assert "| **every hand-made schedule** | 0 / 0 / 1 | 0 / 0 / 1 |" in text
    assert "(paper's form) alone | 0 / 0 / 1 |" in text
    assert "Cells that are not won" in text


def test_a_budget_is_won_only_against_every_baseline():
    """A tie with a baseline that has a higher mean than another, which is beaten, is a tie."""
    cells = rows({"edm": [2.0] * 3, "gaussian": [1.0, 5.0, 2.0], "art_rl_endpoint": [1.5] * 3})
    results = compare(cells, ["art_rl_endpoint"], ["edm", "gaussian"], "rmse")
    assert [result["outcome"] for result in results] == ["win", "tie"]
    text = comparison_markdown(results, {}, "m")
    assert "| **every hand-made schedule** | 0 / 1 / 0 | 0 / 1 / 0 |" in text


def gaussian_table(model, count=6):
    x = 80.0 * torch.randn(count, *model.shape, dtype=torch.float64)
    return x, TableEnvironment.from_denoiser(model, x, 80.0, 0.002, cells=64)


def test_trusted_table_continues_q_by_power_laws(model):
    _, table = gaussian_table(model)
    trusted = trusted_table(table, (0.02, 4.5))
    nodes = table.lattice.nodes
    inside = (nodes >= 0.02) & (nodes <= 4.5)
    assert torch.equal(trusted.q[:, inside], table.q[:, inside])
    # Gaussian data follows these laws up to (c / sigma)^2: 2 % at 4.5, 0.2 % at 0.02.
    ratio = (trusted.q / table.q)[:, ~inside & (nodes >= 0.002)]
    assert (ratio - 1).abs().max() < 0.03
    with pytest.raises(ArtRLError, match="at least 3 levels"):
        trusted_table(table, (100.0, 200.0))


def test_rollout_q_is_the_mean_q_between_two_levels(model):
    x, table = gaussian_table(model)
    estimate = table.rollout_q()
    calls = 0

    def counted(*args):
        nonlocal calls
        calls += 1
        return model(*args)

    level = torch.full((len(x),), 80.0, dtype=torch.float64)
    _, first = estimate(counted, x, level)
    assert first.flatten(1).norm(dim=1).numpy() == pytest.approx(float(table.mean_q[-1]))
    # Exact flow of Gaussian data down to 0.5 and 0.45: |Q| = c^2 (c^2 + s^2)^(-3/2) |x_T| / ...
    c = 0.5

    def at(sigma):
        return x * np.sqrt((c**2 + sigma**2) / (c**2 + 80.0**2))

    estimate(counted, at(0.5), level * 0 + 0.5)
    _, q = estimate(counted, at(0.45), level * 0 + 0.45)
    middle = np.sqrt(0.5 * 0.45)
    length = x.flatten(1).norm(dim=1) / np.sqrt(c**2 + 80.0**2)
    exact = c**2 * (c**2 + middle**2) ** -1.5 * length
    assert q.flatten(1).norm(dim=1).numpy() == pytest.approx(exact.numpy(), rel=2e-3)
    assert calls == 3


def snakemake(folder, config, targets):
    """Run the workflow of this checkout on one core with ``folder`` as working directory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    command += ["--directory", str(folder), "--cores", "1", "--quiet", "all"]
    command += ["--configfile", str(ROOT / f"config/{config}.yaml"), "--", *targets]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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
    snakemake(tmp_path, "digits_smoke", [f"paper_figures/digits_smoke/{name}" for name in wanted])
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


def test_mnist_end_to_end(tmp_path):
    """Files in MNIST's format to the paper's Table 4 and carried-over schedules: mnist_smoke."""
    digits = load_data("digits")
    files = tmp_path / "resources/mnist"
    files.mkdir(parents=True)
    for part, count, key in (("train", 120, "train"), ("t10k", 40, "test")):
        images = getattr(digits, key)[:count]
        grey = functional.interpolate((images + 1) * 127.5, size=28).byte()[:, 0].numpy()
        labels = getattr(digits, f"{key}_labels")[:count].byte().numpy()
        for array, kind in ((grey, "images-idx3"), (labels, "labels-idx1")):
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (files / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    folder = tmp_path / "paper_figures/mnist_smoke"
    names = ["table4_mnist_rk4_fid.md", "table6_mnist_heun_rmse.csv"]
    snakemake(tmp_path, "mnist_smoke", [f"paper_figures/mnist_smoke/{name}" for name in names])
    table = (folder / names[0]).read_text()
    assert "Reported in 2607.02137, Table 4" in table, "the paper's numbers stand below ours"
    rows = read_rows(folder / names[1])
    carried = [row for row in rows if row.get("method") == "transfer_data"]
    assert carried and all(row["mean"] > 0 for row in carried)
    schedule = json.loads(
        (tmp_path / "results/mnist/schedules/transfer_data/heun/K2.json").read_text()
    )
    source = ROOT / "paper_figures/digits_full/schedules/digits_art_rl_endpoint_heun_K2.json"
    assert schedule["sigmas"] == json.loads(source.read_text())["sigmas"]
