# Every target is a short list of commands that can be typed as they stand.
PYTHON ?= python3
TARGET ?= pixel7-npu
BIN := .venv/bin
MAIN_JOB := tests/pipeline/test_deploy_end_to_end.py

.PHONY: setup deploy test nightly lint docs reference check clean

deploy: setup  ## set up, then do the main job: a deployment for TARGET
	$(BIN)/python -m pipeline deploy --target $(TARGET)

setup: check .venv/installed  ## make .venv, fetch and build what the phone and the runners need (into the cache, no root)
	$(BIN)/python -m pipeline doctor --prepare

test: check .venv/installed-dev lint  ## lint, types, layering, then the tests
	$(BIN)/python -m pipeline doctor --prepare
	$(BIN)/python -m pytest -m main_job --durations 1 $(MAIN_JOB)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations 8

nightly: check .venv/installed-dev  ## the slow checks too
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed-dev  ## the documentation as a site in docs/_build/html; every warning is an error
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

reference: .venv/installed-dev  ## docs/reference/ again, out of the code
	$(BIN)/python -m docs.generate_reference

check:
	@command -v git >/dev/null || { echo "error: git is missing; on Debian: apt-get install git" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=..., or on Debian 12: apt-get install python3" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: the venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -e .[dev,docs]
	touch $@

clean:  ## remove the environment; runs/ and the cache stay
	rm -rf .venv
