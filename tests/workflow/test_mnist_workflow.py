"""MNIST end to end, from files in its format to the paper's table."""

import gzip
import json
import struct

from running import ROOT, snakemake, succeeded
from torch.nn import functional

from art_rl.report.tables import read_rows
from art_rl.training.datasets import load_data


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
    targets = [f"paper_figures/mnist_smoke/{name}" for name in names]
    succeeded(snakemake(tmp_path, *targets, config=ROOT / "config/mnist_smoke.yaml"))
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
