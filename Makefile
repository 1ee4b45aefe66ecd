PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint benchmark

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
