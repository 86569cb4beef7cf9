# `make` lists the targets. It needs Python 3.11 or newer, make and git; everything else comes from the locked requirements.
# Kept to what GNU make 3.81 (macOS) understands.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo servers test lint types imports tests bench format lock schema dev clean

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := app examples indexers schema tests
# How many processes run the tests; what follows the command of `make demo` and `make servers`
# (make demo ARGS="--stations 500").
WORKERS ?= 2
ARGS ?=
# Leaves the index's kernel in numba's cache, so that no start has to compile it.
COMPILE = $(PY) -c "from app.index._kernel import load; load()"

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## nine operators, indexed and served, until Ctrl-C
	@$(PY) -m app demo $(ARGS)

servers: dev ## real Elasticsearch and Redis servers until Ctrl-C (ARGS="--cluster --replica": more of them)
	@$(PY) -m tests.servers $(ARGS)

test: lint types imports tests ## lint, types, import contracts, guards and tests: what CI runs

lint: dev ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: dev ## mypy, strict
	$(PY) -m mypy

imports: dev ## who may import whom
	$(PY) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-logo

tests: dev ## the guards and all tests but the soak tests
	$(PY) -m pytest -n $(WORKERS)

bench: dev ## what requests cost, in ratios; written into bench/README.md (needs wrk)
	$(PY) -m bench $(ARGS)

format: dev ## rewrite the sources as `make lint` wants them
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

schema: $(VENV)/.installed ## print the GraphQL schema over schema/schema.graphql
	$(PY) -m app schema --write

lock: ## resolve pyproject.toml into the requirements files (needs uv; newer versions: UPGRADE=--upgrade)
	@uv=uv; command -v uv >/dev/null 2>&1 || uv="python3 -m uv"; \
	compile="$$uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE)"; \
	$$compile -o requirements.txt && $$compile --group dev -c requirements.txt -o requirements-dev.txt

dev: $(VENV)/.installed-dev

clean: ## remove caches and the environment; your data in var/ stays
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --require-hashes: what is installed is byte for byte what was locked. The stamp makes the second start fast.
$(VENV)/.installed: requirements.txt | $(VENV)/.created
	@echo "Installing the locked requirements into $(VENV) (once; a minute or two) ..."
	@$(PY) -m pip install --quiet --require-hashes -r requirements.txt
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt | $(VENV)/.created
	@echo "Installing the locked requirements and development tools into $(VENV) (once; a minute or two) ..."
	@$(PY) -m pip install --quiet --require-hashes -r requirements-dev.txt
	@$(COMPILE)
	@touch $@

# The first Python on the path that is new enough and can make environments. An environment that works is kept.
$(VENV)/.created:
	@if $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then touch $@; exit 0; fi; \
	found=; lame=; \
	for python in $(PYTHON) python3 python python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		if $$python -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$python; break; fi; \
		lame=$$python; \
	done; \
	if [ -z "$$found" ] && [ -n "$$lame" ]; then \
		echo "$$lame cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
		echo "On Debian and Ubuntu they come with the package python3-venv." >&2; exit 1; \
	fi; \
	if [ -z "$$found" ]; then \
		echo "Chargegraph needs Python 3.11 or newer; none was found on the path." >&2; \
		echo "If it stands elsewhere: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$found --version) ..."; \
	$$found -m venv --clear $(VENV) && touch $@
