# make demo   fine-tunes a real language model on this machine
# make test   installs and runs the whole test suite
# make check  everything that CI runs: the linters, then the tests
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

# No model hub is asked for anything, here or in the tests.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One environment for everything, made again when one of these is newer than its stamp.
INSTALLED_FROM := pyproject.toml tests/machine/install tests/machine/install_cpu $(wildcard tests/machine/standins/*/*)
SHELL_SCRIPTS := .ci/run $(wildcard tests/machine/install* tests/machine/system_packages)

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.installed  ## fine-tune a real 135M-parameter model with LoRA; about 5 minutes after the first time
	@$(BIN)/python examples/quickstart/run.py

test: $(VENV)/.installed  ## install, and run the whole test suite
	@tests/machine/system_packages
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed  ## formatting, lint rules, types, import contracts, shell scripts
	@tests/machine/system_packages
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SHELL_SCRIPTS); \
	 else echo "shellcheck is not installed: shell scripts were not checked"; fi

check: lint test  ## everything that CI runs

format: $(VENV)/.installed  ## rewrite the Python files: formatting, import order, what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

schemas: $(VENV)/.installed  ## write schemas/ from the typed sections
	$(BIN)/python -m smtrain.schema_files schemas

clean:  ## remove what was installed and built, the demo's model included; runs/ stays
	rm -rf $(VENV) .demo .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.installed: $(INSTALLED_FROM)
	@tests/machine/system_packages demo
	@echo "Installing torch, LLaMA-Factory and smtrain into $(VENV): about 2.3 GB, 3 to 10 minutes, once."
	@tests/machine/install $(VENV) llamafactory,native,data,demo,dev
	@touch $@

.PHONY: help demo test lint check format schemas clean
