# `make demo` and all `make test...` work on a fresh machine with Python 3.11, pip, venv and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest

.PHONY: install browser demo test test-integration test-lowest faults fuzz docs dist check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@# as pip does with a package: the first command of a user need not
	$(BIN)/python -m compileall -q src
	touch $@

# a table with a clear answer; then, in short, one where it does not matter
demo: $(INSTALLED)
	$(BIN)/jointrain demo --out demo-answer --force

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m "not integration"

# Chromium for the tests of pages, which are skipped without one: where apt is at hand and may install
browser:
	@for name in chromium chromium-headless-shell google-chrome; do \
		if command -v $$name; then exit 0; fi; done; \
	if ! command -v apt-get >/dev/null; then \
		echo "no apt-get here: install Chromium, or name a browser by JOINTRAIN_BROWSER=PATH"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=; else as=sudo; fi; \
	$$as apt-get update -qq && $$as apt-get install -qq -y --no-install-recommends chromium-headless-shell

# process groups beyond a few, servers, other environments: slow, and not needed for each change
test-integration: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m integration

# the command line with the lowest release of each dependency that pyproject.toml admits
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -n 2 -m "not integration" tests/data tests/reports tests/baselines/test_baselines.py \
		tests/studies/test_run_store.py tests/bundle/test_bundle.py tests/cli/test_commands.py \
		tests/cli/test_reading.py tests/cli/test_tables.py tests/estimators/test_estimators.py \
		tests/test_lowest_versions.py tests/test_main.py tests/cli/test_settings.py

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --constraint constraints-lowest.txt --editable ".[test]"
	touch $@

# commands that are killed, run out of disk or meet each other; changed files of strangers (an hour each)
faults: $(INSTALLED)
	$(BIN)/python tests/faults/kills.py
	$(BIN)/python -m tests.faults.training_kills

fuzz: $(INSTALLED)
	$(BIN)/python tests/faults/fuzz.py --mutants 20000

# the site, in build/site; a link that leads nowhere is an error
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# what is given to PyPI
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LOWEST) build dist demo-answer demo-answer-penguins
