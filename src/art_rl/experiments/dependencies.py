"""Which modules of the library a script's numbers depend on.

As inputs of a rule they rerun it when one of them changes; Snakemake watches the script only.
"""

import ast
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from art_rl.registry import kind_of


@cache
def imported_modules(script: str | os.PathLike, source: str | os.PathLike) -> list[Path]:
    """Every module of art_rl that ``script`` imports, directly or through others, sorted.

    ``source`` is the folder that holds art_rl.
    """
    todo, seen = [Path(script)], set()
    while todo:
        for path in _imports(todo.pop(), Path(source)):
            if path not in seen:
                seen.add(path)
                todo.append(path)
    return sorted(seen)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING:``, which never run."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _statements(node)


@cache
def _imports(path: Path, source: Path) -> frozenset[Path]:
    """Modules of art_rl that one Python file imports, existing files only."""
    found: set[Path] = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "art_rl":
                continue
            # Importing a.b.c runs a/__init__.py and a/b/__init__.py too.
            for depth in range(1, len(parts) + 1):
                stem = source.joinpath(*parts[:depth])
                files = (stem / "__init__.py", stem.with_suffix(".py"))
                found.update(path for path in files if path.is_file())
    return frozenset(found)


def modules(
    script: str, root: str | os.PathLike, models: Mapping[str, Any], model: str | None = None
) -> Callable[[Any], list[str]]:
    """Input function: the modules behind workflow/scripts/<script>, relative to the working directory.

    A script that builds an experiment also depends on the builder of its model's kind, and on no other.

    Args:
        root: folder of the repository.
        models: of the configuration.
        model: the model of a rule without the wildcard.
    """
    source = Path(root) / "src"
    found = imported_modules(Path(root) / "workflow/scripts" / script, source)
    builds = source / "art_rl/sampling/experiment.py" in found

    def code(wildcards: Any) -> list[str]:
        paths, name = set(found), wildcards.get("model") or model
        if builds:
            chosen = [models[name]] if name is not None and name in models else models.values()
            kinds = {kind_of(entry) for entry in chosen}
            for kind in kinds:
                builder = source.joinpath(*kind.builder.split(".")).with_suffix(".py")
                paths |= {builder, *imported_modules(builder, source)}
        return [os.path.relpath(path, os.getcwd()) for path in sorted(paths)]

    return code
