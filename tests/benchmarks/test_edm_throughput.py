"""The throughput benchmark runs at tiny size on this machine and writes what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from art_rl.files import read_json

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
edm_throughput = pytest.importorskip("edm_throughput")
measurements = pytest.importorskip("edm_measurements")


def test_smoke(tmp_path, capsys):
    out = tmp_path / "result.json"
    skip = ["compile", "all_float32", "all_bf16", "all_fp16"]  # each compiles for seconds
    edm_throughput.main(
        ["--smoke", "--quiet", "--device", "cpu", "--out", str(out), "--skip", *skip]
    )
    result = read_json(out)
    assert result["nfe"] == 5 and result["flops_per_call_and_image"] > 1e6
    rows = {row["variant"]: row for row in result["speed"]}
    names = {"official", "configured", "channels_last", "fused_attention", "bf16", "fp16"}
    assert names == set(rows)
    for row in rows.values():
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["seconds_per_batch"])
        flops = result["flops_per_call_and_image"] * 5 * row["images_per_second"]
        assert row["flops_per_second"] == pytest.approx(flops)
    accuracy = {row["variant"]: row for row in result["accuracy"]["variants"]}
    worst = {
        name: max(row["one_call_max_relative_error"].values()) for name, row in accuracy.items()
    }
    assert worst["official"] == 0 and worst["channels_last"] < 1e-5
    assert 1e-5 < worst["fp16"] < worst["bf16"] < 0.1
    assert result["accuracy"]["solver_rms_error"] > accuracy["fp16"]["images_rms_error"] > 0
    best = result["best_images_per_second"]
    assert best["configured"] == rows["configured"]["images_per_second"]
    ratio = best["configured"] / best["official"]
    assert result["speed_up"] == {"configured": pytest.approx(ratio), "all": None}
    learned = result["learning"]
    assert learned["seconds_per_iteration"] > 0 and learned["budget"] == 3 and learned["batch"] == 8
    hours = learned["seconds_per_iteration"] * learned["iterations_of_a_run"] / 3600
    assert learned["hours_of_a_run"] == pytest.approx(hours)
    assert {row["variant"] for row in result["skipped"]} >= {*skip, "cuda_graphs"}
    assert "images/s" in capsys.readouterr().out


def test_configured_is_what_the_paper_runs_with():
    speed = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["models"]["cifar10"]["speed"]
    (variant,) = [v for v in measurements.variants(True, graphs=True) if v.name == "configured"]
    options = {**variant.options, "dtype": str(variant.options["dtype"]).removeprefix("torch.")}
    assert options == speed == measurements.configured_speed()
    # As fast_network of a run: cuDNN's autotuning is off.  The batch sizes of the run are measured.
    assert variant.all_batches and not variant.cudnn_benchmark
    assert {128, 256} <= set(edm_throughput.parse([]).batch_sizes)


def test_weights_need_their_description(capsys):
    with pytest.raises(SystemExit):
        edm_throughput.parse(["--weights", "net.safetensors"])
    assert "go together" in capsys.readouterr().err


def test_results_of_real_runs_are_tracked():
    """The plan of another checkout reads them; what --smoke writes stays out."""
    names = ["edm_throughput-edm-cifar10-32x32-cond-vp-cuda.json", "edm_throughput-smoke.json"]
    paths = [f"benchmarks/results/{name}" for name in names]
    git = ["git", "-C", str(ROOT), "check-ignore", "--no-index", "--", *paths]
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    ignored = subprocess.run(git, capture_output=True, text=True).stdout.split()
    assert ignored == paths[1:]
