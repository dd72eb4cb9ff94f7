# Two words to start: `make run` and `make test`. README.md has the commands in full.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test lint docs reference clean

run: $(VENV)/.installed
	$(BIN)/bench run --matrix matrix.toml
	$(BIN)/bench report

test: lint
	$(BIN)/python -m pytest -q

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# regenerates the pages under docs/commands and the tables that are made from the code
docs: $(VENV)/.installed-test
	$(BIN)/python -m tests.generate_docs

# the committed reference results of the default matrix
reference: $(VENV)/.installed
	$(BIN)/bench run --matrix matrix.toml --machine reference --name reference

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
