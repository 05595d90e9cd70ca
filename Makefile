# Every habit of the project; `make` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC starts the stages as `python`, which has to be the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
.PHONY: help setup repro test test-slow test-all lint format check bench bench-scale audit

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

# The marker is renewed when the lock or the package's metadata changes.
setup: $(VENV)/installed  ## make the environment: the locked versions, in .venv
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup  ## the main job: sample data if data/raw is empty, the pipeline, a table of results
	@test -n "$$(ls -A data/raw 2>/dev/null)" || maskdepth sample data/raw
	@dvc add --quiet data/raw
	dvc repro
	@maskdepth results

test: setup  ## the quick tests with their coverage
	pytest --quiet --cov --cov-report=term:skip-covered

test-slow: setup  ## the tests that take minutes: real pipelines, kills, and the real photographs where they are
	pytest --quiet -m "(slow or realdata) and not gpu"

test-all: test test-slow  ## every test that this machine can run

lint: setup  ## ruff and mypy
	ruff check . && ruff format --check . && mypy

format: setup  ## format, and mend what is safe to mend
	ruff format . && ruff check --fix .

check: lint test  ## lint + test

bench: setup  ## every benchmark: a table, then one JSON line
	@for script in benchmarks/bench_*.py; do echo "== $$script"; python $$script || exit 1; done

bench-scale: setup  ## the index at 400,000 rows, and how its time grows
	@python benchmarks/bench_index.py --scale

audit: setup  ## known security holes in the locked dependencies (asks a vulnerability service)
	pip-audit --require-hashes --requirement requirements.lock
