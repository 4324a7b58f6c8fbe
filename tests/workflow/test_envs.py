"""Environments agree: pyproject, constraints.txt, the conda files, and what the code imports."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from art_rl.records import VERSION

ROOT = Path(__file__).parents[2]
# Names that differ: conda package -> PyPI package, import -> PyPI package.
CONDA = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
IMPORTS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "torch_fidelity": "torch-fidelity",
}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[normal(name)] = version
    return pins


def env_pins(path):
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        pairs = entry["pip"] if isinstance(entry, dict) else [entry]
        for pair in pairs:
            name, version = re.split(r"==?", pair)
            yield CONDA.get(name, normal(name)), version


ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def test_constraints_are_exact_and_name_no_host():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text and "--" not in text
    for name, version in constraints().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), name


def test_snakefile_asks_for_the_snakemake_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = project["optional-dependencies"]["workflow"]
    (least,) = re.findall(
        r'^min_version\("(.*)"\)$', (ROOT / "workflow/Snakefile").read_text(), re.M
    )
    assert wanted == f"snakemake>={least}"


def test_constraints_cover_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        name for extra in project["optional-dependencies"].values() for name in extra
    ]
    assert project["version"] == VERSION
    for requirement in wanted:
        assert normal(re.split(r"[><=~]", requirement)[0]) in constraints(), requirement


@pytest.mark.parametrize("path", ENVS, ids=lambda p: p.name)
def test_conda_versions_are_the_constraints(path):
    pins = constraints()
    for name, version in env_pins(path):
        if name not in ("python", "pip"):
            assert pins[name] == version, f"{path.name}: {name}"


def rules():
    """(conda file, script) of every rule."""
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for block in path.read_text().split("\nrule ")[1:]:
            # NUMERICS (common.smk) is cpu.yaml or gpu.yaml, which hold the same packages.
            block = re.sub(r"conda:\s+NUMERICS", 'conda: "../../envs/cpu.yaml"', block)
            conda = re.search(r'conda:\s+"([^"]+)"', block)
            script = re.search(r'script:\s+"([^"]+)"', block)
            yield path, block.split(":")[0], conda, script


def test_every_rule_has_log_conda_script_and_docstring():
    for path, name, conda, script in rules():
        where = f"{path.name}: {name}"
        block = path.read_text().split(f"\nrule {name}:")[1].split("\nrule ")[0]
        assert 'log:\n        "' in block, where
        assert block.strip().startswith('"""'), where
        assert conda and (path.parent / conda[1]).exists(), where
        assert script and (path.parent / script[1]).exists(), where


def statements(tree, inside_functions):
    """Nodes of a module; bodies of functions only if asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # these imports never run
        if inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from statements(node, inside_functions)


def third_party(path, seen=None):
    """Packages a Python file imports, following imports of art_rl and of scripts beside it.

    What the library imports inside a function (torch, to measure a profile) is not needed to import
    it; what a script imports inside a function is.
    """
    seen = set() if seen is None else seen
    if path in seen:
        return set()
    seen.add(path)
    found = set()
    in_script = path.parent.name == "scripts"
    for node in statements(ast.parse(path.read_text()), inside_functions=in_script):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            beside = path.with_name(f"{top}.py")
            if top == "art_rl":
                stem = (ROOT / "src").joinpath(*name.split("."))
                for part in (stem.with_suffix(".py"), stem / "__init__.py"):
                    if part.is_file():
                        found |= third_party(part, seen)
            elif in_script and beside.is_file():
                found |= third_party(beside, seen)
            elif top not in sys.stdlib_module_names:
                found.add(normal(IMPORTS.get(top, top)))
    return found


@pytest.mark.parametrize(
    ("conda", "script"),
    sorted({(c[1], s[1]) for _, _, c, s in rules() if c and s}),
    ids=lambda value: value.split("/")[-1],
)
def test_environment_holds_what_its_scripts_import(conda, script):
    held = {name for name, _ in env_pins(ROOT / "envs" / Path(conda).name)}
    # jupytext and nbclient bring nbformat.
    held |= {"nbformat"} if "nbclient" in held else set()
    # pydantic brings its core, of one version.
    held |= {"pydantic-core"} if "pydantic" in held else set()
    needed = third_party(ROOT / "workflow/scripts" / Path(script).name)
    assert needed <= held, f"{conda} lacks {sorted(needed - held)}"


@pytest.mark.parametrize(
    "script",
    [
        "check_features",
        "closed_form_schedules",
        "endpoint_schedules",
        "export_schedules",
        "rival_schedules",
        "transfer_schedules",
    ],
)
def test_small_jobs_start_without_torch(script):
    """Importing it takes a second; theirs is done in less."""
    assert "torch" not in third_party(ROOT / f"workflow/scripts/{script}.py")


def test_snakefile_is_a_table_of_contents():
    lines = (ROOT / "workflow/Snakefile").read_text().splitlines()
    assert len(lines) <= 60
    for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        if not path.name.startswith("common"):
            assert not re.search(r"^\s*def |lambda", path.read_text(), re.M), path.name
