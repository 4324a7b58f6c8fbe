"""The house: a room imports only from the floors below it, and some rooms never import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LIBRARY = SOURCE / "art_rl"

# Bottom-up; rooms of one floor do not import each other.
FLOORS = [
    {"errors"},
    {"files", "checks"},
    {"registry", "records"},
    {"schedules"},
    {"settings"},
    {"denoisers"},
    {"flow"},
    {"assets", "training", "metrics"},
    {"learning"},
    {"sampling", "own_model"},
    {"experiments"},
    {"report", "cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = {
    "errors",
    "files",
    "checks",
    "registry",
    "records",
    "schedules",
    "settings",
    "report",
}
ROOT_MODULES = {"__init__", "errors", "files", "checks", "registry", "records"}
LONGEST = 400


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> set[str]:
    """Dotted names a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    return {
        name.split(".")[1]
        for name in imported(path)
        if name.startswith("art_rl.") and name.split(".")[1] in FLOOR
    }


def test_every_room_has_a_floor():
    assert {room_of(path) for path in modules()} - {"__init__"} == set(FLOOR)


def test_the_root_is_small():
    assert {path.stem for path in LIBRARY.glob("*.py")} <= ROOT_MODULES


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_come_from_below(path):
    room = room_of(path)
    if room == "__init__":
        return
    wrong = {
        other for other in rooms_imported(path) if other != room and FLOOR[other] >= FLOOR[room]
    }
    assert not wrong, f"{path.relative_to(LIBRARY)} imports {sorted(wrong)}, not below {room}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_modules_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_import_alone_needs_no_torch():
    """Rooms without torch stay without it, whatever they import."""
    names = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if room_of(path) in WITHOUT_TORCH | {"__init__"} and path.name != "__main__.py"
    ]
    names = [name for name in names if name.removeprefix("art_rl") != ".__init__"]
    code = f"import sys\nfor name in {sorted(set(names))!r}:\n    __import__(name)\n"
    code += "    assert 'torch' not in sys.modules, name + ' imports torch'\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
