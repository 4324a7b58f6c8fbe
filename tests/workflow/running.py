"""Runs of the workflow in a folder of their own, and single scripts of its rules called in this process."""

import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment():
    """Of a run: one thread, and jobs share the library's bytecode instead of compiling it each."""
    found = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def command(*arguments, config, root=ROOT, cores=2):
    """A call of snakemake: ``arguments``, then the files of ``config`` (one or several)."""
    files = [config] if isinstance(config, str | Path) else config
    return [
        *(sys.executable, "-m", "snakemake", *map(str, arguments)),
        *("--cores", str(cores), "--quiet", "rules"),
        *("--snakefile", str(root / "workflow/Snakefile"), "--configfile", *map(str, files)),
    ]


def snakemake(folder, *arguments, **options):
    """A finished run with ``folder`` as working directory; `command` takes the rest."""
    return subprocess.run(
        command(*arguments, **options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3000,
    )


def run_paper(folder, mirror, *arguments, **changes):
    """`snakemake` on config/paper_smoke.yaml with ``changes``, merged in from a second file."""
    more = folder / "more.yaml"
    more.write_text(json.dumps({"mirror": mirror, **changes}))
    return snakemake(folder, *arguments, config=[ROOT / "config/paper_smoke.yaml", more])


def succeeded(done):
    """Fail with the end of what a run said unless it ended well."""
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def faults(done):
    """The lines a run that failed says to its reader, without a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said, said[-4000:]
    return [line for line in said.splitlines() if line.startswith("art_rl: ")]


# Single rules, without Snakemake.


def rule(name):
    """main() of a workflow script."""
    scripts = ROOT / "workflow/scripts"
    rule_job = types.ModuleType("rule_job")
    vars(rule_job).update(runpy.run_path(str(scripts / "rule_job.py")))
    rule_job.run = lambda main, snakemake: None
    before = sys.modules.get("rule_job")
    sys.modules["rule_job"] = rule_job
    try:
        return runpy.run_path(str(scripts / name), {"snakemake": None})["main"]
    finally:
        sys.modules.pop("rule_job")
        if before is not None:
            sys.modules["rule_job"] = before


class Named(types.SimpleNamespace):
    """Inputs, outputs, params or wildcards of a job."""

    def get(self, name, default=None):
        return getattr(self, name, default)


def job(**values):
    return types.SimpleNamespace(**{k: Named(**v) for k, v in values.items()}, threads=1)
