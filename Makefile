# make run    everything from config/config.yaml: tables and figures in paper_figures/
# make mnist  MNIST: the paper's Table 4, config/mnist.yaml
# make mnist-large  the run behind paper_figures/mnist: 10,000 images in the papers' rows, config/overlays/mnist_large.yaml
# make mnist-gpu  the same on a GPU with 50,000 images per cell, config/overlays/mnist_gpu.yaml
# make digits_full  digits with every method and three solvers, config/digits_full.yaml
# make paper  the paper's tables on the official checkpoints (GPU); make paper-dry prints the plan
# make test   the tests
# make lint   style of Python, Snakemake and the workflow
# make test-lowest   the tests and a small run with every package at the least version that pyproject.toml accepts
# make docs   the documentation site, in build/site; make test-interop   hand-over to diffusers, azula
# make lock   constraints.txt from pyproject.toml (UPGRADE=1: newest versions; with the oldest Python 3.11 at hand, so that every pin installs there)
# make check-numbers   rerun from scratch in results/check and compare with the committed tables

# Snakemake starts scripts by the interpreter's path (.venv/bin/python) and does not quote it.
ifneq ($(words $(CURDIR)),1)
$(error the repository lies in a path with a space, "$(CURDIR)", through which Snakemake cannot start \
Python; move it to a path without)
endif

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Idle OpenMP threads that spin slow every neighbour down; rules set their own thread numbers.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: run mnist mnist-large mnist-gpu digits_full test test-interop test-lowest docs settings lint lock report check-numbers unlock clean paper paper-dry

run: $(READY)
	snakemake --cores $(CORES)

mnist digits_full: $(READY)
	snakemake --cores $(CORES) --configfile config/$@.yaml

mnist-large: $(READY)
	snakemake --cores $(CORES) --configfile config/mnist.yaml config/overlays/mnist_large.yaml

mnist-gpu: $(READY)
	snakemake --profile workflow/profiles/gpu --configfile config/mnist.yaml config/overlays/mnist_gpu.yaml

paper: $(READY)  # a GPU, a network, and what paper-dry prints
	snakemake --cores $(CORES) --configfile config/paper.yaml

paper-dry: $(READY)  # anywhere: no GPU, no download
	python -m art_rl.experiments.plan config/paper.yaml
	snakemake --dry-run --quiet rules --configfile config/paper.yaml

test: $(READY)
	pytest -n auto --dist loadfile --no-loadscope-reorder

test-interop:  # hand-over to diffusers and azula, in an environment of its own
	test -x .venv-interop/bin/python || $(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip install --quiet -c constraints.txt -e '.[interop,dev]'
	# azula brings a torchvision that may be built for another torch; diffusers then fails to import
	.venv-interop/bin/python -m pip uninstall --quiet --yes torchvision
	.venv-interop/bin/python -m pytest tests/denoisers/test_adapters.py tests/schedules/test_handover.py tests/own_model tests/cli tests/docs

test-lowest:  # torch aside, whose version is the pinned one; the small run stands for the workflow's tests
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	mkdir -p build
	grep -oE '"[A-Za-z-]+>=[0-9.]+"' pyproject.toml | tr -d '"' | sed 's/>=/==/' | grep -vE '^(torch|setuptools)==' > build/lowest.txt
	grep '^torch==' constraints.txt >> build/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet -c build/lowest.txt -e '.[workflow,metrics,notebooks]' jsonschema pytest pytest-xdist
	.venv-lowest/bin/python -m pytest -n auto --dist loadfile --ignore tests/workflow --ignore tests/slurm
	PATH="$(CURDIR)/.venv-lowest/bin:$$PATH" snakemake --cores $(CORES) --forceall --configfile config/smoke.yaml

docs: $(READY)  # the site, in build/site
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	mkdocs build --quiet --strict

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check -l 100 workflow
	snakemake --lint

# Of finished results: CONFIG=config/smoke.yaml, or several files, as they were run with; MIRROR=folder.
CONFIG ?= config/config.yaml
REPORT ?= results/report_$(basename $(notdir $(firstword $(CONFIG)))).zip
report: $(READY)
	mkdir -p $(dir $(REPORT))
	snakemake --report $(REPORT) --configfile $(CONFIG) $(if $(MIRROR),--config mirror=$(MIRROR))

check-numbers: $(READY)
	rm -rf results/check
	snakemake --cores $(CORES) --directory results/check
	python -m art_rl.report.check_numbers paper_figures/exact results/check/paper_figures/exact

$(READY): pyproject.toml constraints.txt
	# Also after a venv that was interrupted before it had pip.
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[workflow,notebooks,metrics,dev]'
	touch $@

settings: $(READY)  # the editors' schema and the tables of config/README.md, from src/art_rl/settings
	python -m art_rl.settings

LOCK := build/lock
lock:  # versions stay as they are where pyproject.toml allows; UPGRADE=1 takes the newest
	rm -rf $(LOCK) && $(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip install --quiet $(if $(UPGRADE),'torch==2.13.0',-c constraints.txt) '.[workflow,slurm,notebooks,metrics,interop,docs,dev]'
	{ sed -n '/^#/p' constraints.txt; $(LOCK)/bin/python -m pip freeze --all --exclude art_rl --exclude pip | sed 's/+cpu$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf $(LOCK)

unlock: $(READY)  # after a kill -9 or a power cut
	snakemake --unlock

clean:
	rm -rf results .snakemake
