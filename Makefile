# Needs Python >= 3.11 and make; everything else goes into .venv, and a second run installs nothing.
# Another interpreter: make test PYTHON=python3.12 (with VENV=.venv-312 to keep the first environment).

PYTHON ?= python3
VENV ?= .venv
SHELL := /bin/sh

# Through `python -m` wherever possible: it works from a path with spaces and after the folder was moved.
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
# whole files to one process: what a file prepares once is used by all of its tests
PARALLEL = --numprocesses=2 --dist=loadfile

.PHONY: help demo test lint types layers pytest docs test-full test-min test-313 bench format clean

help:
	@echo "make demo       three worked evaluations; prints where their pages are"
	@echo "make test       what continuous integration runs: ruff, mypy, import-linter, pytest (at most 10 minutes)"
	@echo "make docs       the documentation as pages in out/docs"
	@echo "make test-full  the same with more examples, then on the oldest supported versions and on Python 3.13"
	@echo "make bench      time and memory beside other packages (benchmarks/README.md)"
	@echo "make format     let ruff format the code"
	@echo "make clean      remove the environments and caches"

# --- environments: a stamp file says what is installed ---------------------------------------------------------------

$(VENV)/.made:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "pmg_eval needs Python 3.11 or newer; '$(PYTHON)' is: $$("$(PYTHON)" --version 2>/dev/null || echo 'not found')"; \
	    echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make environments: install its venv module (on Debian and Ubuntu: python3-venv)"; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(INSTALL) --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "Installing pmg_eval and what the demonstration needs into $(VENV) (once; a minute or two)"
	@$(INSTALL) --editable ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing pmg_eval and the developer tools into $(VENV) (once; a minute or two)"
	@$(INSTALL) --editable ".[demo,parallel]" --group dev
	@touch $@ $(VENV)/.demo

# The lower bounds of pyproject.toml, exactly.
$(VENV)/.minimum: $(VENV)/.made pyproject.toml scripts/minimum_versions.py
	@$(RUN) scripts/minimum_versions.py demo parallel > $(VENV)/minimum.txt
	@echo "Installing pmg_eval with its oldest supported dependencies into $(VENV)"
	@$(INSTALL) --editable ".[demo,parallel]" --group test --constraint $(VENV)/minimum.txt
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	@echo "Installing pmg_eval and the test tools into $(VENV)"
	@$(INSTALL) --editable ".[demo,parallel]" --group test
	@touch $@

# --- what a newcomer runs --------------------------------------------------------------------------------------------

demo: $(VENV)/.demo
	@$(RUN) -m pmg_eval demo --out out --force

test: lint types layers pytest

lint: $(VENV)/.dev
	@echo "== ruff"
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

types: $(VENV)/.dev
	@echo "== mypy --strict"
	@$(RUN) -m mypy

layers: $(VENV)/.dev
	@echo "== import-linter"
	@$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

pytest: $(VENV)/.dev
	@echo "== pytest, two processes"
	@OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL)

# --- the long run ----------------------------------------------------------------------------------------------------

test-full: lint types layers
	@echo "== pytest, 200 examples per law, 2,000 fuzzed frames, 150 panels per cell of the coverage study in small"
	@PMG_EVAL_FUZZ=2000 PMG_EVAL_COVERAGE=150 OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL) --hypothesis-profile=full
	@$(MAKE) test-min
	@$(MAKE) test-313

test-min:
	@found="$$(sh scripts/find_python.sh 3.11 '$(PYTHON)' || sh scripts/find_python.sh 3.12 '$(PYTHON)')"; \
	if [ -z "$$found" ]; then \
	    echo "== oldest supported versions: NOT RUN, they need Python 3.11 or 3.12 and none was found"; \
	else \
	    $(MAKE) pytest-minimum VENV=.venv-min PYTHON="$$found"; \
	fi

test-313:
	@found="$$(sh scripts/find_python.sh 3.13 '$(PYTHON)')"; \
	if [ -z "$$found" ]; then \
	    echo "== Python 3.13: NOT RUN, no such interpreter was found"; \
	else \
	    $(MAKE) pytest-other VENV=.venv-313 PYTHON="$$found"; \
	fi

.PHONY: pytest-minimum pytest-other
pytest-minimum: $(VENV)/.minimum
	@echo "== pytest on the oldest supported versions, $$($(RUN) --version)"
	@OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL) -m "not gate"

pytest-other: $(VENV)/.test
	@echo "== pytest on $$($(RUN) --version)"
	@OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL) -m "not gate"

# --- documentation (a test builds it too, and looks for broken links and requests to elsewhere) -------------------------

docs: $(VENV)/.dev
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "The documentation: $(CURDIR)/out/docs/index.html"

# --- the rest --------------------------------------------------------------------------------------------------------

bench: $(VENV)/.made
	@$(RUN) benchmarks/run.py

format: $(VENV)/.dev
	@$(RUN) -m ruff check --fix-only --quiet .
	@$(RUN) -m ruff format .

clean:
	rm -rf .venv .venv-min .venv-313 .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
