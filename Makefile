# `make demo`, `make test` and `make test-integration` work on a fresh machine with Python 3.11, pip, venv and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-integration faults fuzz check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# a table with a clear answer; then, in short, one where it does not matter
demo: $(INSTALLED)
	$(BIN)/jointrain compare src/jointrain/data/energy_efficiency.csv \
		--targets heating_load,cooling_load --out demo-answer --force
	@echo
	@echo "The same question for the penguins (targets of three kinds, labels missing):"
	@$(BIN)/jointrain compare src/jointrain/data/penguins.csv --targets species,sex,body_mass_g \
		--seeds 1 --out demo-penguins --force --json \
		| $(BIN)/python -c "import json, sys; print(json.load(sys.stdin)['answer'])"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m "not integration"

# process groups beyond a few, servers, other environments: slow, and not needed for each change
test-integration: $(INSTALLED)
	$(BIN)/python -m pytest -n 1 -m integration

# commands that are killed, run out of disk or meet each other; changed files of strangers (an hour each)
faults: $(INSTALLED)
	$(BIN)/python tests/faults/kills.py

fuzz: $(INSTALLED)
	$(BIN)/python tests/faults/fuzz.py --mutants 20000

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-answer demo-penguins
