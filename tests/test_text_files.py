"""Text files are UTF-8 whatever the locale: every call that opens one says so."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "workflow/scripts", "benchmarks", "notebooks")
FILES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))


def without_encoding(source):
    """Lines of calls that open a text file in the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        plain_open = isinstance(node.func, ast.Name) and node.func.id == "open"
        written = name == "write_text" and isinstance(node.func.value, ast.Name | ast.BinOp)
        if not (plain_open or name == "read_text" or written):
            continue
        mode = next((k.value for k in node.keywords if k.arg == "mode"), None)
        mode = node.args[1] if plain_open and len(node.args) > 1 else mode
        binary = isinstance(mode, ast.Constant) and "b" in mode.value
        given = any(k.arg == "encoding" for k in node.keywords) or (
            name == "read_text" and node.args
        )
        if not binary and not given:
            yield node.lineno


def test_the_search_finds_what_it_should():
    found = "open(p)\nopen(p, 'w')\nopen(p, 'rb')\np.read_text()\n(p / 'a').write_text(x)\n"
    assert list(without_encoding(found)) == [1, 2, 4, 5]
    assert not list(without_encoding("open(p, encoding='utf-8')\nopen(p, mode='rb')\n"))


def test_text_files_are_utf8():
    assert len(FILES) > 150
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_serializer_writes_under_a_name_of_its_own():
    """safetensors' save_file does (.tmpXXXXXX): killed in between, nobody knew the file as a leftover."""
    for path in FILES:
        if path.parts[len(ROOT.parts)] in ("src", "workflow"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(node, "attr", None) or getattr(node, "name", None)
                assert name not in ("save_file", "serialize_file"), path
