"""The examples of the documentation run, and the site's pages exist and build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def examples():
    """(page, number, code) of every example that imports what it uses."""
    for page in ("start.md", "own_model.md", "own_sampler.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.S)):
            if "import art_rl" in code:
                yield pytest.param(code, id=f"{page}-{number}")


@pytest.mark.parametrize("code", list(examples()))
def test_examples_run(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    if "print(found)" in code:
        assert "recommended: " in capsys.readouterr().out


def test_every_page_has_an_example_that_runs():
    pages = {param.id.rsplit("-", 1)[0] for param in examples()}
    assert pages == {"start.md", "own_model.md", "own_sampler.md"}


def names(entry):
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [name for value in values for name in names(value)]


def test_pages_and_api_names_of_the_site_exist():
    import importlib

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    for page in names(site["nav"]):
        text = (DOCS / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([\w/]+\.md)\)", text):
            assert ((DOCS / page).parent / target).exists(), f"{page}: {target}"
        for dotted in re.findall(r"^::: (\S+)$", text, re.M):
            try:
                importlib.import_module(dotted)
            except ModuleNotFoundError:
                module, name = dotted.rsplit(".", 1)
                assert hasattr(importlib.import_module(module), name), dotted


def test_readme_shows_the_three_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in ("art_rl.wrap(", "art_rl.learn(", ".apply("):
        assert line in text, line


def test_site_builds(tmp_path):
    pytest.importorskip("mkdocstrings", reason="the site's tools (extra [docs]) are not installed")
    pytest.importorskip("material", reason="the site's tools (extra [docs]) are not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    page = (tmp_path / "api" / "public.html").read_text(encoding="utf-8")
    for name in ("wrap", "learn", "Found", "schedule", "Schedule"):
        assert f".{name}" in page
