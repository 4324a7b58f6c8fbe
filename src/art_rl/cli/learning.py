"""`art-rl learn`."""

import argparse
import sys
import tempfile
from pathlib import Path

from art_rl.cli.models import model_from
from art_rl.errors import ArtRLError
from art_rl.own_model import learn


def run_learn(given: argparse.Namespace) -> int:
    """Learn, print the comparison, write the files; 3 if some learned list is not recommended."""
    denoiser = model_from(given.model, given.shape)
    _check_writable(given.output)
    found = learn(
        denoiser,
        given.budgets,
        solver=given.solver,
        method=given.method,
        sigma_max=given.sigma_max,
        sigma_min=given.sigma_min,
        minutes=given.minutes,
        seed=given.seed,
        coordinates=given.coordinates,
        evaluations=given.evaluations,
        progress=not given.quiet,
    )
    print(found)
    print()
    for path in found.save(given.output):
        print(f"wrote {path}")
    print(f"{found.report['evaluations']:,} network evaluations, {found.report['seconds']:.0f} s")
    others = [K for K in found if found.recommended[K] != found[K]]
    if others:
        budgets = ", ".join(map(str, others))
        print(
            f"art-rl learn: at K = {budgets} another list is recommended than the learned one",
            file=sys.stderr,
        )
        return 3
    return 0


def _check_writable(folder: str) -> None:
    """Make the folder and write into it now: not minutes of learning later."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArtRLError(
            f"--output must be a folder that can be written, got {folder!r} ({error.strerror})"
        ) from None
