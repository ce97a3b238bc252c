# The whole project in a few commands; everything goes into .venv.
#
#   make run      install the light profile (no torch) and run the main job on this machine
#   make test     install everything and run the fast tests
#   make check    format, lint, types, layering, notebooks, docs; no tests
#   make test-all the slow tests too     make bench   benchmarks that write records     make lock   a new constraints.txt
#
# Without a GPU:  make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --progress-bar off --constraint constraints.txt
PROFILES := $(wildcard pyproject.toml constraints.txt)
PYTEST_ARGS ?=

.PHONY: run test test-all check format bench lock browser clean

run: $(VENV)/light.installed
	$(BIN)/workbench tour

test: $(VENV)/full.installed browser
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(VENV)/full.installed browser
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/full.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify notebooks/*.ipynb
	$(BIN)/python -m checks.notebooks
	$(BIN)/python -m checks.docs

format: $(VENV)/full.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout notebooks/*.ipynb
	$(BIN)/python -m checks.docs --write

bench: $(VENV)/full.installed
	$(BIN)/python -m benchmarks

lock: $(VENV)/full.installed
	sed -n '/^#/p' constraints.txt > $(VENV)/constraints.txt
	$(PIP) freeze --exclude-editable | sed -E 's/\+cpu$$//; /^(pip|setuptools|wheel)==/d' | sort -f >> $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

# The browser tests need Chromium. As root on Debian or Ubuntu it is installed; elsewhere they say that they are left out.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }; } || \
	  echo "Chromium is not installed: the tests marked 'browser' are left out."

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The workbench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/light.installed: $(VENV)/bin/python $(PROFILES)
	$(INSTALL) --editable ".[light]"
	@touch $@

$(VENV)/full.installed: $(VENV)/bin/python $(PROFILES)
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch)
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/light.installed

clean:
	rm -rf $(VENV) artefacts .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
