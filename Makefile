# Two commands do everything on a fresh machine with Python 3.10 or newer:
#   make demo   install, run the main comparison on real data, print the table and the path of the report
#   make test   install, run the whole test suite

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO ?= demo-results

.PHONY: demo test lint format docs bench clean help

help:
	@sed -n '1,3p' Makefile | cut -c3-

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "zotoolkit needs Python 3.10 or newer; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing zotoolkit into $(VENV) (PyTorch is large: this takes a while the first time) ..."
	@$(INSTALL) -e '.[plot]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing zotoolkit and its test tools into $(VENV) ..."
	@$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@$(INSTALL) -e '.[test,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

$(VENV)/.docs: $(BIN)/python pyproject.toml constraints.txt
	@$(INSTALL) -e '.[docs]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/zotoolkit compare --suite demo --out $(DEMO)

# One thread a worker: the suite spreads over the cores by processes.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py --all

clean:
	rm -rf $(VENV) site demo-results .pytest_cache .ruff_cache .hypothesis
