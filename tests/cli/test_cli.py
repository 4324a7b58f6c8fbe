"""`art-rl`: the three verbs, their exit codes, and one line for bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest

import art_rl
from art_rl.cli import main

CONFIG = {
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("schedules")
    code = main(
        [
            "learn",
            "gaussian:0.5:2",
            "--budgets",
            "4",
            "3",
            "-q",
            "--evaluations",
            "120000",
            "-o",
            str(out),
        ]
    )
    assert code == 0
    return out


def test_learn_writes_schedules_and_a_report(folder):
    assert art_rl.Schedule.load(folder / "K4.json").K == 4
    report = json.loads((folder / "report.json").read_text())
    assert set(report["budgets"]) == {"3", "4"}
    assert "recommended: yours" in (folder / "report.txt").read_text()


def test_learn_says_when_another_list_is_recommended(tmp_path, capsys):
    arguments = ["learn", "gaussian:0.5", "--budgets", "4", "--method", "dpm", "-q"]
    assert main([*arguments, "--evaluations", "100000", "-o", str(tmp_path)]) == 3
    assert "at K = 4 another list is recommended" in capsys.readouterr().err
    assert (tmp_path / "K4_not_recommended.json").exists()


def test_an_output_that_cannot_be_written_is_one_line_before_anything_is_learned(
    folder, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("art_rl.cli.learning.learn", None)  # not reached
    out = str(tmp_path / "file")
    assert main(["learn", "gaussian:0.5", "--budgets", "4", "-o", out]) == 1
    assert "--output must be a folder that can be written, got" in capsys.readouterr().err
    given = [str(folder / "K4.json"), "--to", "flow", "-o", out + "/times.json"]
    assert main(["convert", *given]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_show(folder, tmp_path, capsys):
    figure = tmp_path / "levels.png"
    assert (
        main(["show", str(folder / "K4.json"), str(folder / "K3.json"), "--plot", str(figure)]) == 0
    )
    out = capsys.readouterr().out
    assert (
        "4 steps, made by art_rl_endpoint for solver euler" in out and "endpoint RMSE, edm" in out
    )
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert (
        main(["show", str(folder / "K4.json"), "--model", "gaussian:0.5:2", "--states", "64"]) == 0
    )
    out = capsys.readouterr().out
    rows = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in out.splitlines()[-5:]}
    assert float(rows[str(folder / "K4.json")]) < float(rows["edm"]) and "gaussian" in rows


def test_show_does_not_give_a_resampled_list_the_figures_of_another(folder, tmp_path, capsys):
    art_rl.Schedule.load(folder / "K4.json").resample(7).save(tmp_path / "K7.json")
    assert main(["show", str(folder / "K4.json"), str(tmp_path / "K7.json")]) == 0
    own, resampled = capsys.readouterr().out.split("K7.json")
    assert "endpoint RMSE, yours" in own and "resampled" not in own
    assert "resampled: verdict and errors of the 4 steps are not its own" in resampled
    assert "endpoint RMSE" not in resampled and "recommended" not in resampled


def test_show_measures_a_model_of_straight_trajectories(folder, tmp_path, monkeypatch, capsys):
    """There is no closed form then: the command ended with that, instead of leaving the row out."""
    (tmp_path / "points.py").write_text(
        "import art_rl, torch\n"
        "f = lambda x, sigma: torch.full_like(x, 0.3)\n"
        "ranges = {'sigma_data': 0.5, 'sigma_max': 80.0, 'sigma_min': 0.01}\n"
        "point = art_rl.wrap(f, prediction='x0', time='sigma', shape=(2,), **ranges)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["show", str(folder / "K4.json"), "--model", "points:point"]) == 0
    shown = capsys.readouterr().out
    assert "gaussian" in shown and "closed form" not in shown.split("endpoint RMSE with")[1]


def test_convert(folder, tmp_path, capsys):
    file = str(folder / "K4.json")
    levels = art_rl.Schedule.load(file).numpy()

    def converted(*options):
        capsys.readouterr()
        assert main(["convert", file, *options]) == 0
        return json.loads(capsys.readouterr().out)

    assert converted("--to", "sigmas") == levels.tolist()
    times = np.array(converted("--to", "flow", "--shift", "3"))
    shifted = 3 * times / (1 + 2 * times)
    np.testing.assert_allclose(shifted / (1 - shifted), levels[:-1], rtol=1e-12)
    config = tmp_path / "scheduler_config.json"
    config.write_text(json.dumps({"shift": 3.0}))
    assert converted("--to", "flow", "--scheduler", str(config)) == times.tolist()
    config.write_text(json.dumps(CONFIG))
    assert len(converted("--to", "timesteps", "--scheduler", str(config))) == 4
    # A scheduler of flow times keeps the betas it does not use: they were taken for its table.
    config.write_text(json.dumps({**CONFIG, "beta_end": 0.001, "use_flow_sigmas": True}))
    assert converted("--to", "sigmas", "--scheduler", str(config)) == levels.tolist()
    assert main(["convert", file, "--to", "timesteps", "--scheduler", str(config)]) == 1
    assert 'has flow times, no table: use to("flow")' in capsys.readouterr().err
    azula = converted("--to", "azula")
    assert azula["sigma"] == levels.tolist() and azula["t"][0] == 1
    out = tmp_path / "levels.json"
    assert main(["convert", file, "--to", "sigmas", "-o", str(out)]) == 0
    assert json.loads(out.read_text()) == levels.tolist()


def test_a_model_by_its_import_path(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_models.py").write_text(
        "from art_rl.denoisers import Gaussian\n"
        "import art_rl, torch\n"
        "ready = Gaussian(0.5, 2)\n"
        "def make():\n    return Gaussian(0.5, 2)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    short = ["--budgets", "3", "--method", "gaussian", "-q", "--evaluations", "100000"]
    for name in ("ready", "make"):
        assert main(["learn", f"my_models:{name}", *short, "-o", name]) in (0, 3)
    for name, message in (
        ("number", "needs prediction="),
        ("nothing", "cannot be imported"),
    ):
        assert main(["learn", f"my_models:{name}", *short]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn", "nothing", "--budgets", "3"], "neither a folder nor a file"),
        (["learn", "gaussian:x", "--budgets", "3"], "needs a positive number"),
        (["learn", "no.such.module:name", "--budgets", "3"], "cannot be imported"),
        (["learn", "gaussian:0.5", "--budgets", "0"], "at least 1, got 0"),
        (["show", "missing.json"], "no such file"),
        (["convert", "missing.json", "--to", "flow"], "no such file"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert (
        message in error and error.count("\n") == 1 and error.startswith(f"art-rl {arguments[0]}: ")
    )


def test_bad_conversions(folder, tmp_path, capsys):
    file, config = str(folder / "K4.json"), tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIG, "beta_end": 0.012, "beta_start": 0.00085}))
    for options, message in (
        (["--to", "timesteps"], "needs --scheduler"),
        (["--to", "sigmas", "--shift", "3"], "belong to --to flow"),
        (["--to", "sigmas", "--scheduler", str(config)], "sigmas[0] = 80 lies above 25.1"),
        (["--to", "timesteps", "--scheduler", str(config)], "sigmas[0] = 80 lies above 25.1"),
    ):
        assert main(["convert", file, *options]) == 1
        assert message in capsys.readouterr().err


def test_a_folder_that_is_no_model(tmp_path, capsys):
    assert main(["learn", str(tmp_path), "--budgets", "3"]) == 1
    assert "holds scheduler/scheduler_config.json and unet/config.json" in capsys.readouterr().err


def test_wrong_usage_and_help():
    for arguments, code in (([], 2), (["learn"], 2), (["--help"], 0), (["learn", "--help"], 0)):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == code


def test_help_needs_no_torch():
    code = "import sys; from art_rl.cli.main import parser; parser(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_diffusers_folder(tmp_path):
    library = pytest.importorskip(
        "diffusers", reason="diffusers (extra [interop]) is not installed"
    )
    import torch

    torch.manual_seed(0)
    unet = library.UNet2DModel(
        sample_size=4, in_channels=1, out_channels=1, block_out_channels=(8,),
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=4, layers_per_block=1,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "model" / "unet")
    library.EulerDiscreteScheduler().save_pretrained(tmp_path / "model" / "scheduler")
    arguments = ["learn", str(tmp_path / "model"), "--budgets", "3", "--method", "gaussian"]
    assert main([*arguments, "-q", "--evaluations", "100000", "-o", str(tmp_path / "out")]) in (
        0,
        3,
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    names = {row["name"] for row in report["budgets"]["3"]["rows"]}
    assert {"yours", "linspace (as configured)", "trailing", "karras"} <= names
