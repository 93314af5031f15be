# Consentry. `make` alone prints this manual.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000
SECONDS := 180
# Most tests wait more than they work: five files side by side, begun in the order that tests/pace.py
# says, and none may hang.
TOGETHER := -n 5 --dist loadfile --no-loadscope-reorder --timeout 300
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Whatever the environment says: what Python has compiled it keeps, beside the rest of what is built.
# The tests start some hundred servers, and compiling one takes longer than starting it.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/.build/pycache

help: ## Print this manual
	@echo "Consentry: consent captured, recorded, enforced and proven."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/run ## Run the demo shop with ten stand-in destinations on http://localhost:8000
	$(BIN)/consentry demo --port $(PORT)

# One order of sets, so that what a seed found is found again by it.
test: .venv/dev .build/node .build/sdk .build/apt ## Run every test (installs Chromium, PostgreSQL and the SDKs it needs)
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -q $(TOGETHER)

test-fast: .venv/dev ## Run the tests that need neither Chromium, Node nor PostgreSQL
	$(BIN)/python -m pytest -q $(TOGETHER) -m "not browser and not node and not postgres"

soak: .venv/dev .build/node .build/apt ## Long runs: kill -9 five hundred times, ten thousand seeds, every regime in a browser
	$(BIN)/python -m tests.crash.run --cycles 500
	$(BIN)/python -m tests.simulation.run --count 10000
	$(BIN)/python -m tests.sdk.matrix

test-firefox: .venv/dev .build/node .build/firefox ## Run the tests of banner, gate, guard and pages in Firefox (installs it)
	CONSENTRY_BROWSER=firefox $(BIN)/python -m pytest -q -rs $(TOGETHER) -m browser tests/sdk tests/e2e

fuzz: .venv/dev ## Search every parser that faces the network for broken promises (SECONDS=180)
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS)

sdk: .build/sdk ## Build the browser files in sdk/js/dist (they are committed)
	cd sdk/js && npm run -s build

check: .venv/dev .build/sdk ## Formatting, lint, types, the import contract; the browser files and their sizes
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd sdk/js && npm run -s check

screenshots: .venv/dev .build/node .build/apt ## Take the pictures of the documents again
	$(BIN)/python -m tests.sdk.screenshots
	$(BIN)/python -m tests.e2e.page_screenshots

format: .venv/dev ## Format and repair what can be repaired
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

bench: .venv/dev .build/sdk .build/bench-apt .build/bench-venv/done .build/bench-node ## Measure against floors and peers in the same run (about 13 minutes)
	cd sdk/js && node build.mjs --check
	$(BIN)/python -m bench.run

mutants: .build/mutants ## Break the core in every place and see that the tests notice (half an hour)
	.build/mutants-venv/bin/python -m tests.mutants

lock: .venv/dev ## Resolve the requirements again, with hashes
	$(BIN)/uv pip compile -q -U --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	  --python-version 3.11 pyproject.toml --all-extras -o requirements/run.txt
	$(BIN)/uv pip compile -q -U --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	  --python-version 3.11 pyproject.toml --all-extras --group dev -c requirements/run.txt -o requirements/dev.txt
	$(BIN)/uv pip compile -q -U --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	  --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(BIN)/uv pip compile -q -U --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	  --python-version 3.11 requirements/bench.in -o requirements/bench.txt
	$(BIN)/uv pip compile -q -U --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	  --python-version 3.11 pyproject.toml --all-extras --group mutants -c requirements/dev.txt -o requirements/mutants.txt

clean: ## Remove what make made
	rm -rf .venv .build tests/e2e/js/node_modules bench/js/node_modules sdk/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/uv: requirements/uv.txt
	@if ! $(PYTHON) -m venv .venv 2>/dev/null; then \
	  $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv && $(PYTHON) -m venv .venv; fi
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/run: .venv/uv requirements/run.txt pyproject.toml
	@if [ ! -e .venv/dev ]; then $(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/run.txt \
	  && $(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e . ; fi
	@touch $@

.venv/dev: .venv/uv requirements/dev.txt pyproject.toml
	$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@ .venv/run

# What breaks the code has its own tools, which nothing else needs.
.build/mutants: .venv/uv requirements/mutants.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python .build/mutants-venv
	$(BIN)/uv pip sync -q --python .build/mutants-venv/bin/python --require-hashes requirements/mutants.txt
	@touch $@

.build/node: tests/e2e/js/package-lock.json
	@mkdir -p .build
	cd tests/e2e/js && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# What the browser files are built with. Of the system it needs npm, and no more than that.
.build/sdk: sdk/js/package-lock.json
	@mkdir -p .build
	@command -v npm >/dev/null || { $(SUDO) apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qy --no-install-recommends npm; }
	cd sdk/js && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Chromium and PostgreSQL are system packages; what is there already is left alone.
.build/apt:
	@mkdir -p .build
	@missing=(); command -v chromium >/dev/null || missing+=(chromium); \
	  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing+=(postgresql); \
	  command -v npm >/dev/null || missing+=(npm); \
	  if [ $${#missing[@]} -gt 0 ]; then $(SUDO) apt-get update -q; \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qy --no-install-recommends "$${missing[@]}"; fi
	@touch $@

.build/firefox:
	@mkdir -p .build
	@command -v firefox-esr >/dev/null || command -v firefox >/dev/null || { $(SUDO) apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qy --no-install-recommends firefox-esr; }
	@touch $@

# What is measured against: a load generator, nginx, PostgreSQL and Node; policy engines; npm packages.
.build/bench-apt:
	@mkdir -p .build
	@missing=(); command -v wrk >/dev/null || missing+=(wrk); \
	  PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=(nginx-light); \
	  command -v taskset >/dev/null || missing+=(util-linux); \
	  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing+=(postgresql); \
	  command -v npm >/dev/null || missing+=(npm); \
	  if [ $${#missing[@]} -gt 0 ]; then $(SUDO) apt-get update -q; \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qy --no-install-recommends "$${missing[@]}"; fi
	@touch $@

.build/bench-venv/done: .venv/uv requirements/bench.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python .build/bench-venv
	$(BIN)/uv pip sync -q --python .build/bench-venv/bin/python --require-hashes requirements/bench.txt
	@touch $@

.build/bench-node: bench/js/package-lock.json
	@mkdir -p .build
	cd bench/js && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: help demo test test-fast test-firefox soak fuzz sdk check screenshots format bench mutants lock clean
