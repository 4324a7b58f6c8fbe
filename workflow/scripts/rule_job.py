"""What every script of a rule starts with: src/ importable, output in the log, clear errors.

from rule_job import run
...
run(main, snakemake)
"""

import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

# Conda environments do not hold the package itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from art_rl.errors import ArtRLError
from art_rl.files import digest, sha256_file


def run(main, snakemake):
    """Call ``main(snakemake)`` with stdout and stderr in the rule's log file.

    An ArtRLError (bad input) ends the job with one line, in the log and on the terminal, and exit
    status 1; any other exception is a bug and keeps its traceback, in the log.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")
    with open(snakemake.log[0], "w", buffering=1, encoding="utf-8") as log:
        # By file descriptor, so that libraries and child processes write there too.
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            main(snakemake)
        except ArtRLError as error:
            line = f"art_rl: {snakemake.rule}: {error}"
            print(line, file=log)
            print(line, file=terminal)
            failed = True
        except Exception:
            traceback.print_exc(file=log)
            print(f"art_rl: {snakemake.rule}: failed, see {snakemake.log[0]}", file=terminal)
            failed = True
        else:
            failed = False
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    if failed:
        sys.exit(1)


def schedule_key(path):
    """(method, solver, K) of a path .../schedules/<method>/<solver>/K<K>.json."""
    method, solver, name = path.split(os.sep)[-3:]
    return method, solver, int(name.removeprefix("K").removesuffix(".json"))


@contextmanager
def resumable(snakemake):
    """A folder for training state beside the outputs, removed when the block succeeds.

    Snakemake deletes the outputs of a killed job; this folder is not one of them.  Its name is a digest
    of everything the result depends on (rule, wildcards, parameters, inputs, code), so state of other
    settings or other code is never picked up.
    """
    files = {path: sha256_file(path) for path in snakemake.input if os.path.isfile(path)}
    key = digest(
        [
            snakemake.rule,
            dict(snakemake.wildcards.items()),
            _plain(dict(snakemake.params.items())),
            files,
        ]
    )
    folder = Path(snakemake.output[0]).parent / f"state-{key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def _plain(value):
    """``value`` with Snakemake's mappings and sequences as dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
