# Every target sets itself up. `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= demo-out

.PHONY: venv install demo demo-web docs test test-long faults test-gate test-gate-quick oracle kernels physics-study check format bench compare-study prediction-study recon-study recon-weights recovery-study clean

# What running the node needs.
venv: $(VENV)/.core
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[web]'
	touch $@

# What the tests need as well.
install: $(VENV)/.test
$(VENV)/.test: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: venv
	rm -rf $(OUT)
	$(BIN)/dicomnode demo --out $(OUT)

# The demonstration's review page, open until interrupted; the demonstration runs first where it has not.
demo-web: venv
	[ -f $(OUT)/page.txt ] || $(MAKE) demo OUT=$(OUT)
	@cat $(OUT)/page.txt
	$(BIN)/dicomnode serve --role web --config $(OUT)/config.toml

test: install
	deploy/test-peers.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

# Long studies, soak and fault rounds.
test-long: install
	deploy/test-peers.sh
	$(BIN)/python -m pytest -m long

# All fault tests with real processes, 200 rounds of kill -9 among them (about an hour on 2 cores). Repeat
# a failure with the DICOMNODE_FAULT_SEED that it names.
faults: install
	$(BIN)/python -m pytest tests/faults -q -rs --durations=10

# GATE in an environment of its own (4 GB): opengate without its viewer, and stand-in Geant4 data where they
# lie beside the checkout. The stand-in data are for these tests, never for a patient.
GATE_VENV := .venv-gate
GATE_DATA := $(or $(DICOMNODE_SHARED),../shared)/reference/geant4/g4em_standin_geant4-11.4.tar.xz
test-gate: gate-data
	$(GATE_VENV)/bin/python -m pytest tests/gate
	$(GATE_VENV)/bin/python -m pytest tests/dose/test_contract.py -k gate

# What continuous integration runs of it: some five minutes, the environment as much again.
test-gate-quick: gate-data
	$(GATE_VENV)/bin/python -m pytest tests/gate -m 'not long'

.PHONY: gate-data
gate-data: $(GATE_VENV)/.installed
	@if [ -f "$(GATE_DATA)" ] && [ ! -d $(GATE_VENV)/geant4_data ]; then \
	  tar -xJf "$(GATE_DATA)" -C $(GATE_VENV) && \
	  $(GATE_VENV)/bin/python -m dicomnode gate setup --data $(GATE_VENV)/geant4_data; fi

# opengate asks for opengate-core with its viewer (Qt); the core without it has the same import name.
$(GATE_VENV)/.installed: pyproject.toml constraints.txt tests/gate/requirements.txt
	$(PYTHON) -m venv $(GATE_VENV)
	$(GATE_VENV)/bin/pip install --quiet --upgrade pip
	$(GATE_VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(GATE_VENV)/bin/pip install --quiet --requirement tests/gate/requirements.txt
	$(GATE_VENV)/bin/pip install --quiet --no-deps opengate==10.1.1 opengate-core-novis==10.1.1
	touch $@

# PyTomography in an environment of its own: the judge of tests/recon and the peer of benchmarks/recon.py.
oracle: .venv-oracle/.installed
.venv-oracle/.installed: tests/recon/requirements.txt
	$(PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/pip install --quiet --upgrade pip
	.venv-oracle/bin/pip install --quiet --requirement tests/recon/requirements.txt
	touch $@

# Every table and figure of docs/physics.md (half an hour of CPU). PARTS="tail figures" makes some of them. GATE
# is measured where $(GATE_VENV) is there or DICOMNODE_GATE_PYTHON names a Python that has it.
physics-study: install
	$(BIN)/python benchmarks/physics_study $(PARTS)

# The kernels that come with the package, made anew (an hour); their digests belong in data/README.md.
kernels: install
	$(BIN)/python tools/make_kernels.py

# The documentation as a site, in build/docs. A warning is an error, and nothing is fetched.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"
$(VENV)/.docs: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Ratios against named peers, measured in one run. Peers that are not installed are left out and named.
PEERS := receive demo_cycle vsv multi_vsv montecarlo compare recon recovery
bench: install
	for name in $(PEERS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

# Tables and figures of the reconstruction study: what is missing of its cases, then the page (three hours in
# all). STEPS="page" writes the page alone.
recon-study: install
	$(BIN)/python benchmarks/recon_study $(STEPS)

# Weights of the supervised comparator (20 minutes).
recon-weights: install
	$(BIN)/python benchmarks/recon_weights.py

# Table of docs/prediction.md: simulated torsos, engines against long transport (1 CPU minute a patient and nuclide).
prediction-study: install
	$(BIN)/python benchmarks/prediction_study $(STUDY)

# Figures and tables of docs/comparing.md with the engine montecarlo: over an hour on two cores, and it goes on
# where it was stopped. STUDY="judge" and STUDY="write" repeat the later steps alone.
compare-study: install
	$(BIN)/python -W ignore benchmarks/compare_study $(STUDY)

# Partial volume on simulated patients: docs/studies/recovery-study.md and its picture (15 CPU s a patient).
recovery-study: install
	$(BIN)/python benchmarks/recovery_study $(STUDY)

clean:
	rm -rf $(VENV) $(GATE_VENV) $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache
