# The checked configuration, what it asks for (`targets`), where it lies (`products`), and constraints.

import os
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT / "src"))

from art_rl import registry
from art_rl.errors import ArtRLError
from art_rl.files import remove_leftovers
from art_rl.experiments.dependencies import modules as modules_of
from art_rl.experiments.machine import (
    check_folders,
    check_interpreter,
    check_machine,
    check_shipped,
)
from art_rl.experiments.plan import make_plan
from art_rl.experiments.products import PREVIEW, Products, job_files
from art_rl.experiments.targets import ids, pattern
from art_rl.settings.experiment import check_configuration
from art_rl.settings.load import load

# Idle OpenMP threads that spin slow every neighbour down; jobs get their thread number from the rule.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Keep freed arrays instead of asking the kernel for zeroed pages again: halves small-tensor work.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))
# Progress bars go to log files: a line now and then, not one per iteration.
os.environ.setdefault("TQDM_MININTERVAL", "10")


def folders(settings=None):
    """Where products lie: the pathvars of the configuration, with their defaults."""
    defaults = {"results": "results", "resources": "resources", "figures": "paper_figures"}
    return {**defaults, **(settings or config).get("pathvars", {})}


def checked_config():
    """The configuration in its normal form, or one line on what is wrong with it and exit status 1."""
    try:
        check_interpreter(sys.executable)
        for path in workflow.configfiles:  # Snakemake keeps the last of repeated keys
            load(path)
        plain = check_configuration(config)
        check_shipped(plain, ROOT)
        check_folders(folders(plain))
        return plain
    except ArtRLError as error:
        sys.exit(f"art_rl: {error}")


checked = checked_config()
config.clear()
config.update(checked)
products = Products(config, ROOT)
targets = products.targets


wildcard_constraints:
    name=config["name"],
    model=pattern(targets.models),
    method=pattern(registry.METHODS),
    solver=pattern(["any", *registry.SOLVERS]),
    K=r"\d+",
    seed=r"\d+",
    learner=pattern(targets.learners),
    group=pattern(["all", *registry.SOLVERS]),
    part=r"all|block\d+_\d+",
    table=pattern(targets.tables),


# Where networks run: with --use-conda, a rule that calls one needs torch for the device.
NUMERICS = "../../envs/gpu.yaml" if products.needs_gpu() else "../../envs/cpu.yaml"


def modules(script, model=None):
    """Input function: the modules of art_rl that a rule's numbers depend on."""
    return modules_of(script, ROOT, targets.models, model)


def at(model):
    """The wildcards of a rule that is about one model."""
    return SimpleNamespace(model=model)


def shown(path, caption, category, labels):
    """A product in the report, or as it is without labels."""
    if not labels:
        return path
    known = (ROOT / f"workflow/report/{caption}.rst").exists()
    name = caption if known else "image_figures"
    return report(path, caption=f"../report/{name}.rst", category=category, labels=labels)


def check_before_start():
    """Stop with one line unless disk, memory and, for local runs, the GPU suffice for the plan."""
    if not targets.with_network("convert"):
        return
    try:
        check_machine(
            make_plan(config), [folders()["results"], folders()["resources"]], workflow.local_exec
        )
    except ArtRLError as error:
        sys.exit(f"art_rl: {error}")
