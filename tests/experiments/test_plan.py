"""The plan of a run on checkpoints, the check of the machine, and our numbers beside the paper's."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from snakemake.utils import update_config

from art_rl.errors import ArtRLError
from art_rl.experiments import machine
from art_rl.experiments.plan import GFLOP, make_plan, report
from art_rl.experiments.plan import main as plan_command
from art_rl.experiments.products import Products
from art_rl.files import read_json, write_json
from art_rl.metrics.frechet import Moments, Target, frechet_between
from art_rl.report.paper_comparison import beside_paper, shown
from art_rl.settings.experiment import check_configuration

ROOT = Path(__file__).parents[2]


def settings(name):
    return yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())


# Settings.


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("checkpoint", "edm-cifar10", "models.tiny.checkpoint must be an asset of the group edm"),
        ("reference", "tiny-cond", "models.tiny.reference must be an asset of the group fid_refs"),
        ("inception", "nothing", "models.tiny.inception must be an asset of the group inception"),
        (
            "speed",
            {"dtipe": "float16"},
            "unknown key 'models.tiny.speed.dtipe'; did you mean 'dtype'",
        ),
        ("speed", {"dtype": "float8"}, "models.tiny.speed.dtype must be one of float32"),
        ("data", "digits", "models.tiny"),
        ("sampling", {"samples": 1}, "models.tiny.sampling.samples must be at least 2, got 1"),
    ],
)
def test_bad_models_are_one_line(key, value, message):
    config = settings("paper_smoke")
    config["models"]["tiny"][key] = value
    with pytest.raises(ArtRLError, match=message) as error:
        check_configuration(config)
    assert "\n" not in str(error.value)


def test_checkpoints_are_scored_by_fid_only():
    config = settings("paper_smoke")
    config["tables"]["table2"]["metrics"] = ["fid", "rmse"]
    with pytest.raises(ArtRLError, match=r"tables.table2.metrics must be fid or fid_all"):
        check_configuration(config)


def test_paper_configuration_asks_for_the_papers_tables():
    config = check_configuration(settings("paper"))
    numbers = read_json(ROOT / "src/art_rl/report/paper_tables.json")["tables"]
    asked = {entry["paper"]: entry for entry in config["tables"].values()}
    assert set(asked) == {
        name
        for name in numbers
        if name.startswith(("table_2", "table_3", "table_5", "table_6", "multistep_"))
    }
    for name, entry in asked.items():
        assert entry["budgets"] == numbers[name]["K"] and entry["solver"] == numbers[name]["solver"]
    model = config["models"]["cifar10"]
    assert (
        model["checkpoint"] == "edm-cifar10-32x32-cond-vp" and model["inception"] == "inception-v3"
    )
    for name, entry in asked.items():
        if name.startswith("multistep_"):
            assert numbers[name]["note"] and numbers[name]["source"]
            # Unconditional where the published numbers say so.
            checkpoint = config["models"][entry["model"]]["checkpoint"]
            assert ("uncond" in checkpoint) == (entry["model"] != "imagenet")
    for model in config["models"].values():
        assert (model["sampling"]["samples"], model["sampling"]["seed_blocks"]) == (50000, 3)


# Plan and machine.


SPEED = {"dtype": "float16", "fused_attention": True, "cuda_graphs": True}


def measured(folder, **changes):
    write_json(
        folder / "edm_throughput-edm-cifar10-32x32-cond-vp-cuda.json",
        {
            "network": "edm-cifar10-32x32-cond-vp",
            "nfe": 35,
            "configured_speed": SPEED,
            "speed": [
                {"variant": "configured", "batch": 128, "images_per_second": 300.0},
                {"variant": "configured", "batch": 512, "images_per_second": 400.0},
                {"variant": "all_fp16", "batch": 256, "images_per_second": 900.0},
                {"variant": "official", "batch": 256, "images_per_second": 100.0},
            ],
            "environment": {"device": "a GPU"},
            "matrix_flops_per_second": {"float32": 5.7e13},
            **changes,
        },
    )
    return folder


def test_plan_counts_and_times(tmp_path):
    config = check_configuration(settings("paper"))
    config["tables"] = {name: config["tables"][name] for name in ("table5", "table6_ffhq")}
    config["models"]["cifar10"]["sampling"]["batch"] = 400
    plan = make_plan(config, measured(tmp_path))
    five, six = plan["models"]
    # Table 5: five methods, NFE 7 + 11 + 17 + 23 + 29 + 39; Table 6: six methods, 3 + 5 + 9 + 13 + 19 + 35.
    assert (five["cells"], five["nfe"], five["calls"]) == (30, 5 * 126, 5 * 126 * 150_000)
    assert (six["cells"], six["nfe"], six["images"]) == (36, 6 * 84, 36 * 150_000)
    # As configured, at the nearest batch: 400 images/s x 35 calls near 400 images, 300 at FFHQ's 128,
    # whose network takes 83.72 / 42.38 as long.
    assert five["sampling_hours"] == pytest.approx(5 * 126 * 150_000 / 14_000 / 3600)
    assert six["calls_per_second"] == pytest.approx(300 * 35 * 42.38 / 83.72)
    # Features: half of 57 TFLOP/s at 11.4 GFLOP per image is 2,500 images/s.
    assert five["feature_hours"] == pytest.approx(30 * 150_000 / 2500 / 3600)
    # Learners of ART's objective read a table of trajectories: nothing on top.
    assert plan["learning"] == []
    total = sum(row[key] for row in plan["models"] for key in ("sampling_hours", "feature_hours"))
    assert plan["totals"]["gpu_hours"] == pytest.approx(total)
    assert f"{total:.1f}" in report(plan) and "a GPU" in report(plan)
    # Disk: two checkpoints twice, two references, Inception, 66 cells x 3 blocks of 34 MB; a fifth more.
    disk = 2 * (226e6 + 252e6) + 2 * 33.6e6 + 95.6e6 + 66 * 3 * 33.57e6
    assert plan["needs"]["disk_gib"] == pytest.approx(1.2 * disk / 2**30, abs=0.1)


def test_what_was_not_measured_has_no_hours(tmp_path):
    config = check_configuration(settings("paper"))
    for model in config["models"].values():
        assert model["speed"] == SPEED
    config["models"]["cifar10"]["speed"] = {"dtype": "float32"}
    plan = make_plan(config, measured(tmp_path))
    hours = {row["model"]: row["sampling_hours"] for row in plan["models"]}
    assert hours["cifar10"] is None and hours["ffhq"] > 0 and plan["totals"]["gpu_hours"] is None
    (endpoint,) = (row for row in plan["learning"] if row["model"] == "cifar10")
    assert endpoint["learner"] == "endpoint" and "hours" not in endpoint
    config = check_configuration(settings("paper"))
    assert None in [
        r["sampling_hours"] for r in make_plan(config, measured(tmp_path, speed=[]))["models"]
    ]


def test_gpu_memory_is_the_largest_use(tmp_path):
    """10.5 MiB a row in float32, half of it in float16, 20 MiB of Inception; two GiB and the weights."""
    config = check_configuration(settings("paper"))
    config["tables"] = {"table3": config["tables"]["table3"]}
    cifar10 = config["models"]["cifar10"]

    def need():
        return make_plan(config, tmp_path)["needs"]["gpu_memory_gib"]

    def gib(mib):
        return pytest.approx(1.2 * (2 + 226e6 / 2**30 + mib / 1024), abs=0.1)

    assert need() == gib(256 * (20 + 10.5 / 2))
    cifar10["sampling"]["batch"] = 32  # now the endpoint learner's 512 states per call
    assert need() == gib(512 * 10.5)
    config["methods"] = ["edm", "quadrature", "endpoint", "art_rl_paper"]
    assert need() == gib(256 * 10.5)  # error moments
    config["methods"] = ["edm", "quadrature", "art_rl_paper"]
    assert need() == gib(128 * 10.5)  # control.trajectories
    config["methods"] = ["edm", "quadrature"]
    cifar10["speed"] = {}
    assert need() == gib(32 * (20 + 10.5))  # more than the 64 states of the profile
    cifar10["sampling"]["batch"] = 2
    assert need() == gib(64 * 10.5)


def test_plan_without_measurement_and_without_checkpoints(tmp_path, capsys):
    assert plan_command([str(ROOT / "config/paper.yaml"), "--throughput", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert (
        "no measured throughput" in text and re.search(r"cifar10 +euler", text) and "disk:" in text
    )
    assert "cifar10, paper" not in text, "Algorithm 1 reads a table of trajectories"
    # Multistep: 9 methods at NFE 5 + 6 + 8 + 10; learning 40 x 16 x 32 of them for each of 4 solvers.
    assert re.search(r"imagenet +unipc3 +36 +3 +5,400,000 +261 +39,150,000", text)
    assert "cifar10_uncond, endpoint: 2,375,680 network evaluations at most" in text
    assert plan_command([str(ROOT / "config/smoke.yaml")]) == 1
    assert "has no checkpoints" in capsys.readouterr().err
    (tmp_path / "edm_throughput-x-cuda.json").write_text("{}")
    assert plan_command([str(ROOT / "config/paper.yaml"), "--throughput", str(tmp_path)]) == 1
    assert "not a file of benchmarks/edm_throughput.py" in capsys.readouterr().err


def test_plan_counts_what_rivals_measure_and_learn(tmp_path):
    config = check_configuration(settings("paper"))
    config["tables"] = {"t": config["tables"]["multistep_cifar10_ipndm3"]}
    config["models"]["cifar10_uncond"]["rivals"] = {"trajectories": 8, "paths": 10, "levels": 120}
    config["models"]["cifar10_uncond"]["ld3"] = {"steps": 2, "train": 4, "valid": 6}

    def rivals(*methods):
        config["tables"]["t"].update(methods=["edm", *methods], budgets=[5, 8])
        rows = make_plan(config, tmp_path)["learning"]
        return {row["learner"]: row["evaluations"] for row in rows}

    # 61 teacher levels of 8 trajectories, 10 paths at 120 levels and 119 between them.
    assert rivals("gits", "dmn") == {"rival statistics": 61 * 8 + 10 * 239}
    # The teacher's 21 levels of 8 trajectories and K searches along them, for each of two budgets.
    assert rivals("oss") == {"oss": 21 * 8 * (6 + 9)}
    # 14 gradient steps of 4 (forward, backward) and 6 states at 5 and 8 calls, a first validation,
    # and the reference of RK4 in 64 steps: 4 calls each, one in the last.
    assert rivals("ld3") == {"ld3": 13 * (14 * (3 * 4 + 6) + 6) + 253 * 10}
    assert rivals() == {}
    need = machine.float32_rows(config, "cifar10_uncond")
    assert need == 1
    rivals("gits")
    config["models"]["cifar10_uncond"]["rivals"]["batch_size"] = 4000
    need = machine.float32_rows(config, "cifar10_uncond")
    assert need == 4000


def test_png_files_need_disk(tmp_path):
    config = check_configuration(settings("paper"))
    needs = make_plan(config, tmp_path)["needs"]["disk_gib"]
    ffhq = config["models"]["ffhq"]
    ffhq["sampling"] = {**ffhq["sampling"], "png": True}
    more = 1.2 * (36 + 4 * 36) * 150_000 * 3 * 64**2 / 2**30  # Heun's table and four multistep ones
    assert make_plan(config, tmp_path)["needs"]["disk_gib"] == pytest.approx(needs + more, abs=0.2)


def rule_blocks():
    """name -> text of every rule of the workflow, but for those of exact models; of one made in a loop the
    constant part of its name."""
    paths = [path for path in (ROOT / "workflow/rules").glob("*.smk") if path.stem != "exact"]
    text = "\n".join(path.read_text() for path in paths)
    blocks = re.split(r"^ *rule(?=[ :])", text, flags=re.M)[1:]
    return {
        block.split(":")[0].strip() or re.search(r'name:\s+(?:f")?([\w.]+)', block)[1]: block
        for block in blocks
    }


def test_jobs_that_put_a_network_on_the_gpu_ask_for_one():
    asking = set()
    for name, block in rule_blocks().items():
        script = re.search(r'script:\s+"../scripts/([a-z_]+\.py)"', block)
        source = (ROOT / "workflow/scripts" / script[1]).read_text() if script else ""
        if re.search(r"\b(build_experiment|fast_network)\(|, build_experiment\)", source):
            asking.add(name)
            assert "gpu=products.gpus" in block, name
    assert {"hand_made_schedules", "sample", "measure_profile"} <= asking


def mem_mb(job, network):
    """MB of a job, an expression evaluated as Snakemake does it for a job with these weights."""
    value = job["mem_mb"]
    return eval(value, {"input": {"network": network}}) if isinstance(value, str) else value


def test_slurm_asks_squeue_and_submits_a_lost_job_again():
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text())
    assert profile["slurm-status-command"] == "squeue" and profile["retries"] == 1


def test_slurm_jobs_fit_the_plan():
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text())
    jobs, rules = profile["set-resources"], rule_blocks()
    assert set(jobs) <= set(rules)
    plan = make_plan(check_configuration(settings("paper")))
    for name, block in rules.items():
        if "gpu=products.gpus" in block and name not in jobs:
            # Made in a loop: there is no name to ask for memory by.
            assert "mem_mb=products.memory" in block, name
        elif "gpu=products.gpus" in block or name in ("convert_network",):
            # Slurm counts 10^6 bytes a MB, Snakemake's mem_mb alike.
            assert mem_mb(jobs[name], "n.safetensors") * 1e6 >= plan["needs"]["memory_gib"] * 2**30
            # Models without a network ask for no more than a laptop has.
            if isinstance(jobs[name]["mem_mb"], str):
                assert mem_mb(jobs[name], []) <= 4000, name
    assert mem_mb(jobs["control_table"], []) == 3000  # 1-D: not the 12 GB of a checkpoint
    learning = (ROOT / "workflow/rules/learning.smk").read_text()
    assert 'mem_mb=products.memory if job.kind == "endpoint"' in learning
    products = Products(check_configuration(settings("paper")), ROOT)
    (network, *_) = products.targets.with_network("convert")
    memory = products.memory(SimpleNamespace(model=network))
    assert memory * 1e6 >= plan["needs"]["memory_gib"] * 2**30
    # One job is one seed block of one solver, on a GPU that reaches 40 TFLOP/s.
    seconds = max(
        row["calls"] / row["blocks"] * GFLOP[row["checkpoint"]] * 1e9 / 40e12
        for row in plan["models"]
    )
    assert 60 * jobs["sample"]["runtime"] >= seconds


def test_gpu_overlay_of_the_smoke_run():
    base, over = settings("paper_smoke"), settings("overlays/paper_smoke_gpu")
    update_config(base, over)
    config = check_configuration(base)
    speed = settings("paper")["models"]["cifar10"]["speed"]
    for model in config["models"].values():
        assert model["sampling"]["device"] == "cuda" and model["speed"] == speed
    assert set(config["tables"]) == set(settings("paper_smoke")["tables"])
    assert make_plan(config)["needs"]["gpu"]


NEEDS = {"disk_gib": 1.0, "memory_gib": 0.1, "gpu": False, "gpu_memory_gib": 0.0}


@pytest.mark.parametrize(("key", "what"), [("disk_gib", "disk space"), ("memory_gib", "memory")])
def test_too_small_a_machine_is_refused(tmp_path, key, what):
    plan = {"needs": NEEDS | {key: 1e9}}
    with pytest.raises(ArtRLError, match=f"needs 1000000000.0 GiB of {what}, this machine has"):
        machine.check_machine(plan, [tmp_path])


def test_gpu_is_looked_for(tmp_path, monkeypatch):
    plan = {"needs": NEEDS | {"disk_gib": 0.0, "gpu": True, "gpu_memory_gib": 20.0}}
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtRLError, match="nvidia-smi finds no GPU"):
        machine.check_machine(plan, [tmp_path])
    assert "gpu" not in machine.check_machine(plan, [tmp_path], gpu=False)
    tool.write_text("#!/bin/sh\necho 'Small, 8192'\necho 'Large, 40960'\n")
    tool.chmod(0o755)
    assert machine.check_machine(plan, [tmp_path])["gpu"] == "Large"
    tool.write_text("#!/bin/sh\necho 'Small, 8192'\n")
    with pytest.raises(ArtRLError, match=r"needs 20\.0 GiB of GPU memory"):
        machine.check_machine(plan, [tmp_path])


# Comparison with the paper.


def test_minimum_mean_and_difference():
    paper = {"K": [2, 3], "rows": {"EDM": [465.83, 305.15]}}
    common = {"source": "ours", "K": 3, "nfe": 5}
    ours = [
        {**common, "method": "edm", "mean": 305.5, "sd": 0.5, "block_0": 306.0, "block_1": 305.0},
        {**common, "method": "gaussian", "mean": 20.0, "sd": 0.0, "block_0": 20.0},
        {**common, "method": "edm", "K": 4, "mean": 9.0, "sd": 0.0, "block_0": 9.0},
        {"source": "paper", "label": "EDM", "K": 3, "mean": 305.15},
    ]
    edm, gaussian, beyond = beside_paper(ours, paper)
    assert (edm["min"], edm["paper"]) == (305.0, 305.15)
    assert edm["difference"] == pytest.approx(-0.15) and edm["mean_difference"] == pytest.approx(
        0.35
    )
    assert gaussian["paper"] is None and beyond["paper"] is None
    assert [row["difference"] for row in shown([edm, gaussian])] == ["-0.15", ""]
    with pytest.raises(ArtRLError, match="no numbers of ours"):
        beside_paper(ours[3:], paper)


@pytest.mark.parametrize("n", [8, 40])
def test_factorised_reference_gives_the_same_distance(n):
    rng = np.random.default_rng(n)
    a, b = (Moments.of(scale * rng.standard_normal((n, 12)) + scale) for scale in (1.0, 1.5))
    exact = frechet_between(a, b)
    target = Target.of(*b.mean_and_covariance())
    # Rank-deficient sets (n = 8) carry the root of the rounding of zero eigenvalues.
    assert target.distance(a) == pytest.approx(exact, abs=1e-5 if n == 8 else 1e-10)
    assert target.distance(b) == pytest.approx(0.0, abs=1e-5 if n == 8 else 1e-10)
    with pytest.raises(ArtRLError, match="feature size 12, the images 3"):
        target.distance(Moments.of(rng.standard_normal((5, 3))))
