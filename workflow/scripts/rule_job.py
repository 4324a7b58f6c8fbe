"""What every script of a rule starts with: src/ importable, output in the log, clear errors.

    from rule_job import run
    ...
    run(main, snakemake)
"""

import os
import sys
import traceback
from pathlib import Path

# Conda environments do not hold the package itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from art_rl.errors import ArtRLError


def run(main, snakemake):
    """Call ``main(snakemake)`` with stdout and stderr in the rule's log file.

    An ArtRLError (bad input) ends the job with one line, in the log and on the terminal, and exit
    status 1; any other exception is a bug and keeps its traceback, in the log.
    """
    terminal = sys.stderr
    with open(snakemake.log[0], "w", buffering=1, encoding="utf-8") as log:
        sys.stdout = sys.stderr = log
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
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, terminal
    if failed:
        sys.exit(1)


def schedule_key(path):
    """(method, solver, K) of a path .../schedules/<method>/<solver>/K<K>.json."""
    method, solver, name = path.split(os.sep)[-3:]
    return method, solver, int(name.removeprefix("K").removesuffix(".json"))
