# `make demo` and `make test` make .venv and install into it by themselves.
PYTHON ?= python3
BIN := .venv/bin

RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: demo test slow check docs wheel clean

demo: .venv/all
	$(BIN)/protozoo demo

# One process a core, each with one thread: more threads than cores wait for each other.
test: .venv/dev
	$(RUN_TESTS) -m "not slow" $(PYTEST)

slow: .venv/dev
	$(RUN_TESTS) -m slow $(PYTEST)

# What CI runs before the tests: linter, formatter, types, and which package may import which.
check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev
	$(BIN)/sphinx-build -W docs docs/_build

wheel: .venv/dev
	$(BIN)/python -m build --wheel

.venv/all .venv/dev: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "protozoo needs Python 3.10 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(@F)]'
	@touch $@

clean:
	rm -rf .venv build dist docs/_build
