# `make` alone says what there is. Each target makes what it needs, from nothing but Python 3.11+.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# What `make crash` plays: programs recorded, and replayed in processes that differ in every way.
PROGRAMS ?= 20000
# How often `make crash` kills an engine at a random moment.
KILLS ?= 50
# How often it kills, stops or ends one of 1, 2 and 4 workers, and replaces one under load.
CREW_ACTS ?= 1000
ROLLS ?= 200
# How often four processes make one new file at the same time.
NEW_FILES ?= 200
# How often it kills a process while others talk to its runs.
TALK_KILLS ?= 100
# How many simulated worlds it plays, with engines that die at any moment.
WORLDS ?= 20000
# In how many ways it sets the clocks of a host.
CLOCKS ?= 1000
# How many images of a disk after a power cut it judges, with each durability.
IMAGES ?= 20000
# How many calls below SQLite of each kind and file it lets fail.
FAULTS ?= 40
# At how many sizes, of 4 KiB each, it lets a disk be full.
ROOMS ?= 400
# At how many places it cuts a log, or all.
CUTS ?= 20000
# How often it lets a disk damage a file or its log.
HITS ?= 4000
# How many random lives of steps it plays.
GIVE_UPS ?= 500
# How many seconds a service goes on whose files, memory and descriptors must not grow.
SOAK_S ?= 1800
# Passed on, as in: make test PYTEST="-k retry -x"
PYTEST ?=

# Campaigns of minutes, browsers and measurements have targets of their own.
QUICK := not long and not bench and not browser

.DEFAULT_GOAL := help
.PHONY: help dev demo check format test browser beside screenshots coverage crash bench vendor build clean

help:  ## say what there is
	@awk 'BEGIN {FS = ":.*##"} /^[a-z]+:.*##/ {printf "make %-10s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: $(VENV)/test.stamp $(VENV)/check.stamp $(VENV)/build.stamp  ## make .venv with the package (editable) and every tool
	@echo "ready: . $(BIN)/activate"

demo: $(VENV)/package.stamp  ## kill a durable run in the middle, start it again, and prove what happened
	@$(BIN)/python examples/demo.py $(DEMO)

check: $(VENV)/test.stamp $(VENV)/check.stamp  ## lint, formatting, types (mypy and pyright strict), completeness of public types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
# pyright looks for the package in the environment of the first `python` on the path.
	PATH="$(abspath $(BIN)):$$PATH" pyright
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes durable --ignoreexternal

format: $(VENV)/check.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: $(VENV)/test.stamp  ## run the tests on all cores; PYTEST="-k retry -x" is passed on
	@$(BIN)/python -m pytest -m "$(QUICK)" -n auto --maxprocesses 4 --dist worksteal $(PYTEST)

browser: $(VENV)/test.stamp $(VENV)/browser.stamp  ## run the tests of the pages in a real browser, which is installed where apt can
	@$(BIN)/python -m pytest -m browser tests/web/pages $(PYTEST)

beside: $(VENV)/beside.stamp  ## run the tests with pandas, SQLAlchemy, Django and others beside an engine
	@$(BIN)/python -m pytest tests/beside $(PYTEST)

screenshots: $(VENV)/browser.stamp  ## make the pictures of the README anew, in docs/pictures
	@PYTHONPATH=. $(BIN)/python tests/web/pages/screenshots.py docs/pictures

coverage: $(VENV)/test.stamp  ## show what the tests do not reach; they take twice as long
	@$(BIN)/python -m coverage run -m pytest -q -m "$(QUICK)" $(PYTEST)
	@$(BIN)/python -m coverage report

crash: export DURABLE_KILLS = $(KILLS)
crash: export DURABLE_TALK_KILLS = $(TALK_KILLS)
crash: export DURABLE_WORLDS = $(WORLDS)
crash: export DURABLE_CLOCKS = $(CLOCKS)
crash: export DURABLE_CREW_ACTS = $(CREW_ACTS)
crash: export DURABLE_ROLLS = $(ROLLS)
crash: export DURABLE_NEW_FILES = $(NEW_FILES)
crash: export DURABLE_STOP_S = 60
crash: export DURABLE_IMAGES = $(IMAGES)
crash: export DURABLE_FAULTS = $(FAULTS)
crash: export DURABLE_ROOMS = $(ROOMS)
crash: export DURABLE_CUTS = $(CUTS)
crash: export DURABLE_HITS = $(HITS)
crash: export DURABLE_SOAK_S = $(SOAK_S)
crash: $(VENV)/test.stamp  ## the long campaigns, for hours: kills, simulated worlds, power cuts, full disks, random programs
	$(BIN)/python -m pytest -m "crash or long" -o faulthandler_timeout=7200 $(PYTEST)
	DURABLE_GIVE_UPS=$(GIVE_UPS) DURABLE_MANY_GIVE_UPS=10000 $(BIN)/python -m pytest tests/runtime/test_give_ups.py tests/runtime/test_many_give_ups.py $(PYTEST)
	DURABLE_EDITS=all $(BIN)/python -m pytest tests/runtime/test_edits.py -s $(PYTEST)
	$(BIN)/python tests/core/fuzz.py $(PROGRAMS)

bench: $(VENV)/test.stamp  ## measure speed against a bare loop on the same disk
	$(BIN)/python tests/bench/bench.py

vendor:  ## make the vendored browser module anew, from the npm registry
	durable/web/vendor/build.sh

build: $(VENV)/build.stamp  ## make the wheel and the source archive in dist/
	$(BIN)/python -m build --quiet
	@ls -l dist

clean:  ## remove everything that was made, .venv too
	rm -rf $(VENV) .venv-browser dist build demo-out .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- stamps: an environment is made once, and again when pyproject.toml changes ------------------

# Where no archive answers, that is known soon.
APT := apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=30
# Debian's browser; a machine without apt, or without the rights, brings its own as $CHROMIUM.
$(VENV)/browser.stamp: $(VENV)/package.stamp
	@echo "installing the tools: browser"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group browser
	@command -v chromium >/dev/null || test -n "$$CHROMIUM" || { $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install -y chromium; } >/dev/null 2>&1 || echo "NOT INSTALLED: chromium; its tests will be skipped"
	@touch $@

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "durable needs Python 3.11 or newer, and this is " + sys.version.split()[0] + "; say make PYTHON=python3.12 ...")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
# Dependency groups (`--group`) came with pip 25.1; Python 3.11 brings an older one.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

$(VENV)/package.stamp: $(VENV)/made.stamp pyproject.toml
	@echo "installing the package"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test.stamp $(VENV)/check.stamp $(VENV)/build.stamp $(VENV)/beside.stamp: $(VENV)/%.stamp: $(VENV)/package.stamp
	@echo "installing the tools: $*"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group $*
	@touch $@
