"""Configuration files are read strictly before any job starts, whatever way they reach the workflow."""

import os

from running import ROOT, faults, snakemake, succeeded

SMOKE = (ROOT / "config/smoke.yaml").read_text()


def test_a_second_file_is_read_strictly_too(tmp_path):
    """Through the whole workflow; what else is read strictly stands in tests/settings."""
    over = tmp_path / "over.yaml"
    over.write_text("tables:\n  toy_euler: {budgets: [2]}\n  toy_euler: {budgets: [4]}\n")
    files = [ROOT / "config/smoke.yaml", over]
    assert faults(snakemake(tmp_path, "-n", config=files)) == [
        f"art_rl: {over}: key 'tables.toy_euler' is repeated, on lines 2 and 3: only the last would "
        "count; merge the two or rename one"
    ]
    assert os.listdir(tmp_path) == ["over.yaml"]


def test_values_of_the_command_line_go_over_the_file(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "smoke.yaml").write_text(SMOKE)
    options = ("-n", "--directory", "elsewhere")
    target = "results/smoke/figures/other/toy_euler_rmse.csv"
    renamed = snakemake(tmp_path, *options, target, "--config", "name=other", config="smoke.yaml")
    succeeded(renamed)
    done = snakemake(tmp_path, *options, "--config", "nmae=other", config="smoke.yaml")
    (line,) = faults(done)
    assert line.startswith("art_rl: config: unknown key 'nmae'; did you mean 'name'?")
