# Every target sets itself up. `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install test faults check format clean

# Everything that `make test` needs, pinned.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

# All fault tests with real processes, 200 rounds of kill -9 among them (about an hour on 2 cores). Repeat
# a failure with the DICOMNODE_FAULT_SEED that it names.
faults: install
	$(BIN)/python -m pytest tests/faults -q -rs --durations=10

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
