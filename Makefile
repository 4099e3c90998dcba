# Every target sets up what it needs. `make help` lists them.
EXAMPLE ?= digits
BENCH   ?= all
OVERLAY ?= standard
WATCH   ?=
VENV    := .venv
RUN     := $(VENV)/bin
named   = $(shell sed -n 's/^$(1) = "\(.*\)"/\1/p' $(2))
VERSION := $(call named,version,pyproject.toml)
IMAGE   ?= $(call named,IMAGE,penstock/settings.py)
PREDICTOR_IMAGE ?= $(call named,PREDICTOR_IMAGE,penstock/settings.py)
BUILDER ?= docker
CA_BUNDLE ?= $(SSL_CERT_FILE)
export PENSTOCK_SHARED ?= $(abspath $(wildcard ../shared))
export PENSTOCK_SCHEMAS ?= $(wildcard $(PENSTOCK_SHARED)/data/kserve)
# Every process that a test or the demo starts would compile all it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo submit deploy undeploy status test test-cluster unit ci lint format types layers golden golden-check spelling image image-check lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: ## virtual environment, pinned dependencies, GLPK where it may be installed
	@scripts/setup.sh lock

setup-dev:
	@scripts/setup.sh dev

demo: setup ## the main job on this machine: models, profiles, plan, real load, a report (EXAMPLE=fashion for the larger one)
	$(RUN)/penstock demo examples/$(EXAMPLE)/pipeline.yaml

submit: setup ## run the bootstrap pipeline on Kubeflow (EXAMPLE=digits KFP_ENDPOINT=http://localhost:8888 ARGS="--load 20 --wait")
	@test -n "$(KFP_ENDPOINT)" || { echo "name the Kubeflow Pipelines API: make submit KFP_ENDPOINT=http://localhost:8888"; exit 2; }
	$(RUN)/penstock submit examples/$(EXAMPLE)/pipeline.yaml --endpoint $(KFP_ENDPOINT) $(ARGS)

deploy: setup ## run a pipeline on the current cluster of kubectl (EXAMPLE=, OVERLAY=standard|knative|dev, WATCH=10 for no Argo)
	scripts/deploy.sh examples/$(EXAMPLE)/pipeline.yaml $(OVERLAY) $(WATCH)

undeploy: setup ## take a pipeline away from the cluster again (EXAMPLE=)
	$(RUN)/penstock undeploy examples/$(EXAMPLE)/pipeline.yaml

status: setup ## the pipeline on the cluster: plan, stages, gateway, last tick (EXAMPLE=)
	$(RUN)/penstock status examples/$(EXAMPLE)/pipeline.yaml --cluster kubernetes

test: setup-dev ## all tests
	$(RUN)/python -m pytest -n 2 --dist worksteal -m "not image and not cluster" --cov --cov-report=term --cov-fail-under=90

unit: setup-dev ## the quick ones: no process, no socket
	$(RUN)/python -m pytest -n 2 -m "not slow" tests/unit tests/properties tests/regressions

test-cluster: setup-dev ## contract suite and the whole path on the cluster of the kube context (PENSTOCK_TEST_IMAGE names the image)
	$(RUN)/python -m pytest -n 0 -m cluster -v --durations=5 tests/contracts/test_cluster.py tests/cluster

ci: setup-dev lint types layers golden-check ## lint, types, layers, golden files

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

golden: ## write the golden files anew; review them as a diff
	$(RUN)/python -m tests.golden.write

golden-check: golden
	@git diff --exit-code --stat -- tests/golden || { echo "golden files differ from what the code writes: review and commit them"; exit 1; }
	@test -z "$$(git ls-files --others --exclude-standard tests/golden)" || { echo "new golden files: commit them"; exit 1; }

bench: setup-dev ## benchmarks; results in bench/results (BENCH=name for one)
	$(RUN)/python -m bench $(BENCH)

image: ## build both container images (IMAGE, PREDICTOR_IMAGE, BASE, BUILDER=docker)
	@IMAGE=$(IMAGE) PREDICTOR_IMAGE=$(PREDICTOR_IMAGE) VERSION=$(VERSION) BASE=$(BASE) BUILDER=$(BUILDER) \
	  CA_BUNDLE=$(CA_BUNDLE) BUILD_FLAGS="$(BUILD_FLAGS)" scripts/images.sh

image-check: setup-dev ## run the tick, a component and the predictor from the built images
	PENSTOCK_IMAGE=$(IMAGE) PENSTOCK_PREDICTOR_IMAGE=$(PREDICTOR_IMAGE) BUILDER=$(BUILDER) \
	  $(RUN)/python -m pytest -n 0 -m image tests/image

lock: ## solve the dependencies anew and write the lock files
	requirements/lock.sh

clean: ## remove what the targets made
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build
