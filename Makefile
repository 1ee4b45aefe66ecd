PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint benchmark gpu-check fuzz docs

# torch comes first and pinned, so that no other package chooses its build
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

demo: $(VENV)/.installed ## train, evaluate, predict and report on phantoms, both tasks
	$(BIN)/i2net demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a process per core, each with one thread; the tests of a file share what they make
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: lint ## the fast part of the tests
	$(PYTEST) -m "not slow"

test: lint ## everything
	$(PYTEST)

benchmark: $(VENV)/.installed ## every comparison side by side, into docs/benchmarks.md
	$(BIN)/python -m benchmarks

gpu-check: $(VENV)/.installed ## the tests of GPUs and a short benchmark, into gpu-check.md; a dry run where there is no GPU
	$(BIN)/python -m scripts.gpu_check --out gpu-check.md

fuzz: $(VENV)/.installed ## 10,000 damaged files, fed to every reader
	OMP_NUM_THREADS=1 $(BIN)/python -m fuzzing

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: $(VENV)/.docs-installed ## the documentation site, into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
