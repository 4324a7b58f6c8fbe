"""Writes what is made from the settings tree: the editors' JSON schema and config/README.md's tables.

python -m art_rl.settings            writes both
python -m art_rl.settings --check    exit status 1 if one of them is not current
"""

import argparse
import sys
from pathlib import Path

from art_rl.files import write_text
from art_rl.settings.describe import key_tables, replace_tables, schema_text

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.json"
README = ROOT / "config/README.md"


def made() -> dict[Path, str]:
    """Every file and the text it has when it is current."""
    text = README.read_text(encoding="utf-8")
    return {SCHEMA: schema_text(), README: replace_tables(text, key_tables())}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m art_rl.settings", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    stale = [
        (path, text)
        for path, text in made().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"art_rl: {name} is not current: run python -m art_rl.settings", file=sys.stderr)
        else:
            write_text(path, text)
            print(f"wrote {name}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
