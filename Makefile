# Two words to start: `make run` and `make test`. README.md has the commands in full.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# processes that share the tests: one more than the cores of a small machine, because many tests wait
TEST_PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest -q -n $(TEST_PROCESSES)

.PHONY: run test soak lint docs pictures reference perf clean

run: $(VENV)/.installed
	@# 3: some cells failed; the report says which
	$(BIN)/bench run --matrix matrix.toml; status=$$?; \
	case $$status in 0|3) $(BIN)/bench report;; esac; exit $$status

test: lint
	$(PYTEST) --dist loadfile --no-loadscope-reorder

# faults by the hundred: kills, damaged databases, a thousand forks; about half an hour on two quiet cores
soak: $(VENV)/.installed-test
	$(BIN)/python tests/soak.py

# what needs neither TensorFlow nor a process of its own: for every save
test-fast: $(VENV)/.installed-test
	$(PYTEST) -m "not (tf or slow or postgres or process or exhaustive)"

# the same and what takes minutes: every preset on made-up data in the true formats
test-all: lint $(VENV)/.installed-docs
	HYPOTHESIS_PROFILE=varied $(PYTEST) --dist loadfile --no-loadscope-reorder -m ""

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# measurements against what a user would do instead, appended to perf/results.md: about half an hour on two quiet cores
perf: $(VENV)/.installed
	$(BIN)/python perf/orchestration.py
	$(BIN)/python perf/start.py
	$(BIN)/python perf/packing.py
	$(BIN)/python perf/features.py
	$(BIN)/python perf/stages.py
	$(BIN)/python perf/data.py
	$(BIN)/python perf/folders.py
	$(BIN)/python perf/big.py
	$(BIN)/python perf/step.py
	$(BIN)/python perf/torch_step.py
	$(BIN)/python perf/script_cell.py
	$(BIN)/python perf/siblings.py
	$(BIN)/python perf/scale.py
	$(BIN)/python perf/full_size.py
	$(BIN)/python perf/tour.py --select seed=0

# regenerates the pages and tables that are made from the code and from the reference results, then the site of all pages
docs: $(VENV)/.installed-docs
	$(BIN)/python -m tests.generate_docs
	$(BIN)/bench report --update README.md
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d build/trees . build/site
	@echo build/site/index.html

# the pictures of the tutorial, by doing what it says, and those of docs/figures.md; looks best on a quiet machine with Chromium
pictures: $(VENV)/.installed-test
	$(BIN)/python -m tests.make_figure_pictures
	$(BIN)/python -m tests.make_tutorial_pictures

# the committed reference results of the default matrix, in the package and in the repository's results.sqlite
reference: $(VENV)/.installed
	@cmp results.sqlite benchmark/results/reference.sqlite || { echo "results.sqlite is yours: move it away first"; exit 2; }
	mkdir -p build
	$(BIN)/bench run --matrix matrix.toml --db build/reference.sqlite --machine reference --name reference
	cp build/reference.sqlite benchmark/results/reference.sqlite
	cp build/reference.sqlite results.sqlite
	$(BIN)/bench report --update README.md

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	touch $@ $(VENV)/.installed-test $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
