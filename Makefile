# Everything a person or CI does with this project. `make help` explains.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
TRITON_VENV := .venv-triton
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRITON_READY := $(TRITON_VENV)/.ready
export HF_HUB_OFFLINE := 1
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-containers lint format bench tables images clean

help: ## Explain the targets
	@echo "Archipelago: multilingual e-commerce search, from logs to a ranked page"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) $(TRITON_READY) ## Create .venv and .venv-triton (the other targets do this by themselves)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Triton's Python backend wants numpy 1, so its interpreter lives apart.
$(TRITON_READY): serving/triton-requirements.txt
	test -x $(TRITON_VENV)/bin/python || $(PYTHON) -m venv $(TRITON_VENV)
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r serving/triton-requirements.txt
	@touch $@

run: setup ## The whole loop on this machine: data, features, both models, gate, release, serving (about 10 minutes)
	$(BIN)/archipelago run --profile laptop

test: setup ## All tests but the container ones; what needs an absent part skips with a reason
	$(BIN)/python -m pytest tests -m "not containers and not bench" -n 2 --dist loadfile $(PYTEST_ARGS)

test-containers: setup ## Build the images and run the tiny pipeline in them (needs dockerd, mmdebstrap and root)
	$(BIN)/python -m pytest tests/containers -m containers $(PYTEST_ARGS)

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure speed and memory; results land in tests/bench/results
	for script in tests/bench/bench_*.py; do $(BIN)/python -m tests.bench.$$(basename $$script .py) || exit 1; done

tables: setup ## Write the pages' tables, of measured results (RUN=runs/... records that run first) and of code
	$(BIN)/python -m tests.bench.tables $(if $(RUN),--run $(RUN)) $(TABLES_ARGS)
	$(BIN)/python -m tests.page_tables

ROLES ?= data train monitor serve
images: ## Build the container images, one per role (ROLES="data train" for some, IMAGE_FLAGS for docker build)
	for role in $(ROLES); do \
	  docker build $(IMAGE_FLAGS) --label org.opencontainers.image.revision=$$(git rev-parse HEAD) \
	    --target $$role -t archipelago-$$role:latest -f components/Dockerfile . || exit 1; \
	done

clean: ## Remove environments and runs
	rm -rf $(VENV) $(TRITON_VENV) runs build *.egg-info
