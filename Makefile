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
.PHONY: help setup run test test-containers lint format bench tables images locks sbom audit clean

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
OCI := org.opencontainers.image
images: ## Build the container images, one per role (ROLES="data train triton" for some, IMAGE_FLAGS for docker build)
	for role in $(ROLES); do \
	  docker build $(IMAGE_FLAGS) --target $$role -t archipelago-$$role:latest -f components/Dockerfile \
	    --label $(OCI).version=$(VERSION) --label $(OCI).revision=$(COMMIT) --label $(OCI).created=$(COMMITTED) . || exit 1; \
	done
images: VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
images: COMMIT = $(shell git describe --always --dirty --abbrev=40 --exclude '*')
images: COMMITTED = $(shell git log -1 --format=%cI)

# What images install: every file of every version, by its hash. Python 3.11 is ours, 3.12 is Triton's image.
LOCKS := components/locks
UV_LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make locks" \
  --python-platform x86_64-manylinux_2_28 --constraint constraints.txt
# Where PyTorch's own builds without CUDA lie: a page of links, or a folder.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu/torch/
TORCH = $(shell grep -o '^torch==[0-9.]*' constraints.txt)
locks: setup ## Write components/locks anew from pyproject.toml and constraints.txt (TORCH_CPU says where its wheels lie)
	echo setuptools | $(UV_LOCK) --python-version 3.11 -o $(LOCKS)/build.txt -
	echo kfp | $(UV_LOCK) --python-version 3.11 --no-deps -o $(LOCKS)/kfp.txt -
	for role in features data monitor serve; do \
	  $(UV_LOCK) --python-version 3.11 --extra $$role -o $(LOCKS)/$$role.txt pyproject.toml || exit 1; \
	done
	printf 'py4j\npyspark\n' | $(UV_LOCK) --python-version 3.11 --no-deps -o $(LOCKS)/spark.txt -
	$(UV_LOCK) --python-version 3.11 --extra weights --no-deps -o $(LOCKS)/weights.txt pyproject.toml
	$(UV_LOCK) --python-version 3.11 --extra train --excludes <(echo torch) -o $(LOCKS)/train.txt pyproject.toml
	echo $(TORCH) | $(UV_LOCK) --python-version 3.11 -o $(LOCKS)/torch-cuda.txt -
	echo $(TORCH)+cpu | $(UV_LOCK) --python-version 3.11 --find-links $(TORCH_CPU) --no-emit-find-links -o $(LOCKS)/torch-cpu.txt -
	echo tokenizers | $(UV_LOCK) --python-version 3.12 --no-deps -o $(LOCKS)/triton.txt -
	printf 'safetensors\n$(TORCH)\ntransformers\n' \
	  | $(UV_LOCK) --python-version 3.12 --excludes <(echo numpy) -o $(LOCKS)/triton-gpu.txt -

sbom: setup ## Write what each image holds into build/sbom (CycloneDX)
	$(BIN)/python -m tests.images.sbom build/sbom

audit: setup ## Fail on known vulnerabilities of what images hold, but those that components/locks allows
	$(BIN)/python -m tests.images.audit

clean: ## Remove environments and runs
	rm -rf $(VENV) $(TRITON_VENV) runs build *.egg-info
