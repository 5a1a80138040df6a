# Every target sets itself up. `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install test check format clean compare-study

# Everything that `make test` needs, pinned.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Figures and tables of docs/comparing.md; an hour or more. STUDY="--engine montecarlo" takes a real engine.
compare-study: install
	$(BIN)/python -W ignore benchmarks/compare_study.py $(STUDY)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
