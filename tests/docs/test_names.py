"""Modules, functions and files that the pages name in code type exist."""

import pkgutil
import re

import pytest
from pages import ROOT

# "art_rl.flow.curvature" -> functions, classes and values of it, or what a package hands on.
NAMES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): set(
        re.findall(r"^(?:def |class |    \")?(\w+)", path.read_text(encoding="utf-8"), re.M)
    )
    for path in (ROOT / "src").rglob("*.py")
}
FUNCTIONS = {
    name
    for path in (ROOT / "src").rglob("*.py")
    for name in re.findall(r"^def (\w+)", path.read_text(encoding="utf-8"), re.M)
}
FILES = [
    f"/{path.relative_to(ROOT)}"
    for folder in ("src", "workflow", "tests", "benchmarks", "notebooks")
    for path in (ROOT / folder).rglob("*.*")
]
PAGES = ["README.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/README.md"]
PAGES += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]
# Other libraries, and objects of an example.
OTHERS = {"torch", "denoiser", "result"}


def leads_somewhere(dotted):
    """Whether a name with dots is one of the library, or of something else."""
    if dotted.startswith("art_rl."):
        try:
            return bool(pkgutil.resolve_name(dotted))
        except (ImportError, AttributeError):
            return dotted == "art_rl.network"  # the format of a file
    before, name = dotted.rsplit(".", 1)
    if name not in FUNCTIONS or before.split(".")[0] in OTHERS or not before.islower():
        return True
    return any(
        f".{module}".endswith(f".{dotted}")
        or (f".{module}".endswith(f".{before}") and name in names)
        for module, names in NAMES.items()
    )


def faults(text):
    """Code-typed names that lead nowhere."""
    for code in re.findall(r"`([^`\n]+)`", text):
        for file in re.findall(r"(?<![\w./-])[\w./-]+\.(?:py|smk|sh)\b", code):
            if not any(path.endswith(f"/{file}") for path in FILES):
                yield file
        for dotted in re.findall(r"(?<![\w./<-])[A-Za-z_]\w*(?:\.\w+)+(?![\w/])", code):
            if not leads_somewhere(dotted):
                yield dotted


@pytest.mark.parametrize("page", PAGES)
def test_code_typed_names_exist(page):
    assert not list(faults((ROOT / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name", ["storage.py", "quadrature.node_density", "art_rl.assets.fetch.fetch"]
)
def test_a_name_of_yesterday_is_noticed(name):
    assert list(faults(f"See `{name}`.")) == [name]
