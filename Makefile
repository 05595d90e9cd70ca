# Every habit of the project; `make` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC starts the stages as `python`, which has to be the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A file's tests stay in one process: they share what is expensive to make.
LAST_ERROR := .dvc/tmp/maskdepth-error.txt
ASK_ONE := "failed: the tests that are called FAILED or ERROR above; ask one alone for all it says: pytest NAME"
PYTEST := pytest --quiet --numprocesses 2 --dist loadfile
.PHONY: help setup repro test coverage test-slow test-nightly test-all test-versions lint format check bench bench-scale bench-students claims fuzz mutate audit sbom

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

# The marker is renewed when the lock or the package's metadata changes. The lock is complete, so that pip has nothing to
# resolve: older versions of it look past a pin when a package is wanted with an extra and a newer release is out.
setup: $(VENV)/installed  ## make the environment: the locked versions, in .venv
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

repro: setup  ## the main job: sample data if data/raw is empty, the pipeline, a table of results
	@test -n "$$(ls -A data/raw 2>/dev/null)" || maskdepth sample data/raw
	@dvc add --quiet data/raw
	@rm -f $(LAST_ERROR)
	@dvc repro || { test ! -f $(LAST_ERROR) || cat $(LAST_ERROR) >&2; exit 1; }
	@maskdepth results
	@echo "before the first experiment, commit this:  git add -A && git commit -m 'First result'"

test: setup  ## the quick tests
	@$(PYTEST) || { echo $(ASK_ONE) >&2; exit 1; }

coverage: setup  ## the quick tests, and which lines they reach; takes nearly twice as long
	@$(PYTEST) --cov --cov-report=term:skip-covered || { echo $(ASK_ONE) >&2; exit 1; }

test-slow: setup  ## the tests that take minutes: real pipelines, kills, and the real photographs where they are
	@$(PYTEST) -m "(slow or realdata) and not gpu and not nightly" || { echo $(ASK_ONE) >&2; exit 1; }

test-nightly: setup  ## what takes long and seldom changes: smoke runs of benchmarks, kills, failing calls, every export
	@$(PYTEST) -m "nightly and not gpu" || { echo $(ASK_ONE) >&2; exit 1; }

test-all: test test-slow test-nightly  ## every test that this machine can run

TESTS ?= tests src
test-versions: setup  ## the quick tests with every Python from 3.11 to 3.13 and with the oldest packages: an hour (TESTS=...)
	@python tools/versions.py $(TESTS)

lint: setup  ## ruff, mypy, which room imports which, and that the package has the committed params.yaml
	ruff check . && ruff format --check . && mypy && lint-imports
	git diff --exit-code HEAD:params.yaml HEAD:src/maskdepth/shipped_params.yaml

format: setup  ## format, and mend what is safe to mend
	ruff format . && ruff check --fix .

check: lint test  ## lint + test

# Those that need a data set of some size or many runs, and belong to bench-scale.
AT_SCALE := benchmarks/bench_experiments.py benchmarks/bench_queue.py benchmarks/bench_scale.py

bench: setup  ## every benchmark but those at scale: a table, then one JSON line
	@for script in $(filter-out $(AT_SCALE),$(wildcard benchmarks/bench_*.py)); do \
		echo "== $$script"; python $$script || exit 1; done

bench-scale: setup  ## 400,000 samples: the index, every stage (time, memory, growth), and how soon experiments start
	@python benchmarks/bench_index.py --scale
	@python benchmarks/bench_experiments.py --scale
	@python benchmarks/bench_queue.py
	@python benchmarks/bench_scale.py --scale --picture docs/growth.png

bench-students: setup  ## the students' recipes and ours on the same photographs: over an hour on one core
	@python benchmarks/compare_students.py

claims: setup  ## every number of README and docs, made again or held against the result it was read from: half an hour
	@PYTHONPATH=tests:. python benchmarks/claims.py

FUZZ_PYTHON ?= $(BIN)/python
fuzz: setup  ## ten minutes of damaged bytes for each reader (wants atheris, see tests/faults/fuzz.py)
	@for reader in archives pictures; do $(FUZZ_PYTHON) tests/faults/fuzz.py $$reader || exit 1; done

MUTMUT ?= /tmp/mutmut
mutate: setup  ## change code in every small way and see whether tests notice: an hour (wants mutmut, see tests/faults/mutate.py)
	@PYTHONPATH=$(MUTMUT) python tests/faults/mutate.py

audit: setup  ## known security holes in the locked dependencies (asks a vulnerability service)
	pip-audit --require-hashes --requirement requirements.lock

sbom: setup  ## what the locked environment consists of, as a CycloneDX file: sbom.json
	@python tools/sbom.py sbom.json
