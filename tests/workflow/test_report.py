"""What is in Snakemake's report: every picture and every table of numbers that a run makes for readers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))

# Rules are parsed in a process of their own, as Snakemake changes the working directory and sys.path.
SCRIPT = """
import json, sys
from pathlib import Path
from snakemake.api import (
    ConfigSettings, OutputSettings, ResourceSettings, SnakemakeApi, StorageSettings, WorkflowSettings
)

root, names, found = Path(sys.argv[1]), sys.argv[2:], {}
for name in names:
    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(),
            config_settings=ConfigSettings(configfiles=[root / f"config/{name}.yaml"]),
            storage_settings=StorageSettings(),
            workflow_settings=WorkflowSettings(),
            snakefile=root / "workflow/Snakefile",
            workdir=Path.cwd(),
        )._workflow
        products, folders = workflow.globals["products"], workflow.globals["folders"]()
        wanted = [path.replace("<figures>", folders["figures"]) for path in products.everything()]
        outputs = []
        for rule in workflow.rules:
            for path in rule.output:
                entry = path.flags.get("report")
                caption = entry and str(entry.caption.get_path_or_uri(secret_free=True))
                outputs.append([rule.name, str(path), caption, entry and entry.labels])
        found[name] = [folders["figures"], wanted, outputs]
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """Configuration -> (folder of figures, products, [(rule, output, caption, labels), ...])."""
    folder = tmp_path_factory.mktemp("rules")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ROOT, *CONFIGS], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "found.json").read_text())


def for_readers(path, figures):
    """Pictures and tables of numbers; times are none."""
    return (
        path.startswith(figures + "/")
        and path.endswith((".png", ".csv"))
        and not path.endswith("timings.csv")
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_picture_and_table_is_in_the_report(rules, name):
    figures, _, outputs = rules[name]
    outputs = [each for each in outputs if for_readers(each[1], figures)]
    assert outputs
    lacking = [f"{rule}: {path}" for rule, path, caption, _ in outputs if not caption]
    assert not lacking
    for rule, path, caption, labels in outputs:
        assert Path(caption).is_file(), (rule, path)
        assert labels["model"] and {"figure", "table"} & labels.keys(), (rule, path)
    # Two entries of the same labels cannot be told apart in the report.
    said = [json.dumps(labels, sort_keys=True) for _, _, _, labels in outputs]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("smoke", ["toy_wins.csv", "toy_learning.png", "toy_theta.png", "toy_frontier.csv"]),
        ("digits_smoke", ["digits_wins.csv", "digits_trust.csv", "digits_samples_euler.png"]),
        ("paper_smoke", ["tiny_wins.csv", "tiny_fid_nfe.png", "tiny_samples_heun.png"]),
    ],
)
def test_products_of_every_kind_of_model_are_among_them(rules, name, kinds):
    """Figures of official snapshots, tables of wins and the trust ablation were once left out."""
    _, wanted, outputs = rules[name]
    models = {path.split("/")[-1].split("_")[0] for path in wanted}
    patterns = [path for _, path, caption, _ in outputs if caption]
    for kind in kinds:
        model, _, rest = kind.partition("_")
        assert model in models
        assert any(p.endswith((f"/{kind}", f"}}_{rest}")) for p in patterns), kind
