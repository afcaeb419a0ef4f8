# make run     serve the example configuration (nothing else is needed)
# make test    run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= config/config.example.yaml

.DEFAULT_GOAL := help
.PHONY: help run test check format bench dist install-service clean

help:
	@grep -E '^# make' Makefile | cut -c3-
	@echo "make check   format, lint, types, import floors and tests"
	@echo "make bench   measure this machine against a bare proxy"
	@echo "make dist    build the wheel"
	@echo "make install-service   run cpa as a systemd user service"

$(VENV)/.run: setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

run: $(VENV)/.run
	@CPA_HINT=1 $(BIN)/cpa serve --config $(CONFIG)

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -n 2 $(ARGS)

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.test
	@$(BIN)/python -m bench.run $(ARGS)
ifeq ($(ARGS),)
	@$(BIN)/python -m bench.usage_cost
	@$(BIN)/python -m bench.usage_cost --histories
endif

dist: $(VENV)/.dev
	@$(BIN)/python -m build

install-service: $(VENV)/.run
	@CPA=$(abspath $(BIN)/cpa) sh systemd/install-user.sh

clean:
	rm -rf $(VENV) build dist *.egg-info
