"""One run of a learner: the script of its kind, learn_<kind>.py."""

from importlib import import_module

from rule_job import run

# What `script` names is looked up when the job runs, so that rules made in a loop share one script.
run(import_module(f"learn_{snakemake.params.job['kind']}").main, snakemake)  # noqa: F821
