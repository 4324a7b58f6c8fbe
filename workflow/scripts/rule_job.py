"""What every script of a rule starts with: src/ importable, output in the log, clear errors.

from rule_job import run
...
run(main, snakemake)
"""

import atexit
import ctypes
import gc
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

# Conda environments do not hold the package itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from art_rl.errors import ArtRLError
from art_rl.files import digest, seal, sha256_file, state_folder

# Collecting garbage while modules are imported is a tenth of the time that importing torch takes; the child
# of `run` collects.
gc.disable()

# Tables that feed other jobs: they cannot hold their digest, so it lies beside them.
SEALED = (".csv", ".jsonl")


def run(main, snakemake):
    """Call ``main(snakemake)`` with stdout and stderr in the rule's log file.

    An ArtRLError (bad input) ends the job with one line, in the log and on the terminal, and exit
    status 1; any other exception is a bug or a fault of the machine and keeps its traceback, in the log;
    the terminal says which it was.  The work is done by a child process, so that somebody is left to say
    that it was killed.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")
    with open(snakemake.log[0], "w", buffering=1, encoding="utf-8") as log:
        parent = os.getpid()
        # Neither collecting garbage nor taking the interpreter down may touch the pages the two share:
        # with torch imported, copying them takes a second.
        gc.freeze()
        child = os.fork()
        if child == 0:
            gc.enable()
            _die_with(parent)
            # By file descriptor, so that libraries and grandchildren write there too.
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            failed = _work(main, snakemake, log, terminal)
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(failed)
        else:
            _, status = os.waitpid(child, 0)
            failed = status != 0
            if os.WIFSIGNALED(status):
                line = f"art_rl: {snakemake.rule}: {_killed_by(os.WTERMSIG(status))}"
                with open(snakemake.log[0], "a", encoding="utf-8") as end:
                    print(line, file=end)
                print(line, file=terminal)
    if failed:
        sys.exit(1)


def _work(main, snakemake, log, terminal):
    """Whether ``main`` failed; if so, the reason is in the log and on the terminal."""
    try:
        main(snakemake)
        for path in snakemake.output:
            # Figures and tables for readers (another folder than the logs') are the end of the line.
            if path.endswith(SEALED) and _one_folder(path, snakemake.log[0]):
                seal(path)
    except ArtRLError as error:
        line = f"art_rl: {snakemake.rule}: {error}"
        print(line, file=log)
    except Exception as error:
        traceback.print_exc(file=log)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        line = f"art_rl: {snakemake.rule}: {reason} (see {snakemake.log[0]})"
    else:
        return False
    print(line, file=terminal)
    return True


def _one_folder(*paths):
    """Whether paths, absolute or not, share more than the working directory and what it lies in."""
    common = os.path.commonpath([os.path.abspath(path) for path in paths])
    return os.path.commonpath([common, os.getcwd()]) != common


def _die_with(parent):
    """Have this process killed when ``parent`` dies: nobody writes outputs of a job that is over."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _killed_by(number):
    """A signal in words."""
    name = signal.Signals(number).name
    guess = "; out of memory, or killed by hand" if number == signal.SIGKILL else ""
    return f"killed by signal {number} ({name}{guess})"


def one(files):
    """The file of an input that holds one or none; None if it holds none."""
    return files if isinstance(files, str | os.PathLike) else next(iter(files), None)


def model_of(snakemake):
    """Name, settings and network (None without one) of a job's model, as `build_experiment` takes them."""
    network = one(snakemake.input.get("network", []))
    return snakemake.wildcards.model, snakemake.params.model, network


def schedule_key(path):
    """(method, solver, K) of a path .../schedules/<method>/<solver>/K<K>.json."""
    method, solver, name = path.split(os.sep)[-3:]
    return method, solver, int(name.removeprefix("K").removesuffix(".json"))


def learn_seeds(snakemake, settings_class, learn, schedule):
    """Run a learner with each of its seeds; returns the results.

    Metrics, result and report of every seed, and the first seed's schedules, are written.

    Args:
        settings_class: of the learner, with a seed.
        learn: (settings, metrics_path, state_path) -> result.
        schedule: (result, K) -> the schedule of one budget.
    """
    output, results = snakemake.output, []
    with resumable(snakemake) as state:
        for number, seed in enumerate(snakemake.params.job["seeds"]):
            settings = settings_class.from_dict({**snakemake.params.settings, "seed": seed})
            folder = state / f"seed{seed}"
            folder.mkdir(exist_ok=True)
            result = learn(settings, folder / "metrics.jsonl", folder / "state.safetensors")
            shutil.copyfile(folder / "metrics.jsonl", output.metrics[number])
            result.save(output.tensors[number])
            results.append(result)
        for path in output.get("schedules", []):
            method, solver, K = schedule_key(path)
            facts = {"method": method, "model": snakemake.wildcards.model, "solver": solver}
            schedule(results[0], K).with_provenance(**facts).save(path)
    return results


@contextmanager
def resumable(snakemake):
    """A folder for training state beside the first output.

    Snakemake deletes the outputs of a killed job; this folder is not one of them.  Its name is a digest
    of everything the result depends on (rule, wildcards, parameters, inputs, code), so state of other
    settings or other code is never picked up; it is removed.  The folder itself stays until the run is
    over (`art_rl.files.remove_leftovers`): whenever a job is killed, before, while or after it writes its
    outputs, it goes on from its last checkpoint.
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
    with state_folder(snakemake.output[0], key[:16]) as folder:
        yield folder


def _plain(value):
    """``value`` with Snakemake's mappings and sequences as dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
