# Every target sets up what it needs. `make help` lists them.
EXAMPLE ?= digits
BENCH   ?= all
VENV    := .venv
RUN     := $(VENV)/bin
export PENSTOCK_SHARED ?= $(wildcard ../shared)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test unit ci lint format types layers spelling lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: ## virtual environment, pinned dependencies, GLPK where it may be installed
	@scripts/setup.sh lock

setup-dev:
	@scripts/setup.sh dev

test: setup-dev ## all tests
	$(RUN)/python -m pytest -n 2 --cov --cov-report=term --cov-fail-under=90

unit: setup-dev ## the quick ones: no process, no socket
	$(RUN)/python -m pytest -n 2 -m "not slow" tests/unit tests/properties tests/regressions

ci: setup-dev lint types layers ## lint, types, layers

lint:
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/codespell

format: ## put the code into its form
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

types:
	$(RUN)/mypy

layers:
	$(RUN)/lint-imports --no-cache

bench: setup-dev ## benchmarks; results in bench/results (BENCH=name for one)
	$(RUN)/python -m bench $(BENCH)

lock: ## solve the dependencies anew and write the lock files
	requirements/lock.sh

clean: ## remove what the targets made
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build
