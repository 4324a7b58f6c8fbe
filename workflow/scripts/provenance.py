"""Where every number of a paper_figures folder comes from; no dates, so that reruns repeat it."""

import subprocess
from pathlib import Path

from rule_job import run

from art_rl.files import digest, read_json, sha256_file, write_json


def git(root, *arguments):
    """Output of a git command in the repository, or None outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def main(snakemake):
    root = snakemake.params.root
    sources = sorted(Path(root, "src/art_rl").rglob("*.py"))
    changed = git(root, "status", "--porcelain", "--", "src", "workflow", "config")
    write_json(
        snakemake.output[0],
        {
            "git_commit": git(root, "rev-parse", "HEAD"),
            "git_clean": None if changed is None else changed == "",
            "source_digest": digest([sha256_file(path) for path in sources]),
            "config_digest": digest(snakemake.params.config),
            "config": snakemake.params.config,
            "cells": [read_json(path) for path in snakemake.input.cells],
            "tables": {Path(path).name: sha256_file(path) for path in snakemake.input.tables},
        },
    )


run(main, snakemake)  # noqa: F821
