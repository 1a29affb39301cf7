# The commands for people and for CI. `make` lists them; each sets up what it needs.
#
#   PYTHON=/path/to/python3.12   which Python 3.11-3.13 to make the environment with
#   ARGS='...'                   passed on to recjobs, pytest or the benchmark

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench

export TF_CPP_MIN_LOG_LEVEL ?= 2
export KERAS_BACKEND ?= tensorflow
# uv would fetch a Python where none fits; the one that is here is wanted.
export UV_PYTHON_DOWNLOADS := never

.PHONY: help
help:  ## list these commands
	@awk 'BEGIN { FS = ":.*  ## " } /^[a-z-]+:.*  ## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(READY)  ## make .venv with everything that is locked

.PHONY: demo
demo: $(READY)  ## run whole nights on a throw-away Postgres and show the lists
	$(BIN)/recjobs demo $(ARGS)

.PHONY: demo-stop
demo-stop: $(READY)  ## stop what `make demo` left running
	$(BIN)/recjobs demo --stop $(ARGS)

.PHONY: airflow
airflow: $(READY)  ## the demo under a real Airflow scheduler
	$(BIN)/recjobs demo --airflow $(ARGS)

.PHONY: test
test: $(READY)  ## every test
	$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(READY)  ## lint, format, types, layers, SQL
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint sql

.PHONY: bench
bench: $(BENCH_READY)  ## every stage beside its peers, into docs/performance.md; SHAPE=M: the full one
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench.py --shape $(or $(SHAPE),S) $(ARGS)

.PHONY: bench-quality
bench-quality: $(READY)  ## every family on splits of real data, into docs/quality.md; resumable, hours
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/quality.py $(ARGS)

.PHONY: bench-warm
bench-warm: $(READY)  ## successive nights, warm against cold; hours
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/warm_start.py $(ARGS)

.PHONY: lock
lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra demo --extra test --extra dev --upgrade \
	  --no-emit-index-url --no-annotate --custom-compile-command 'make lock' \
	  pyproject.toml --output-file requirements.lock

.PHONY: clean
clean:  ## remove .venv and the caches (stop the demo first)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard recjobs dags tests) -name __pycache__ -type d -prune -exec rm -rf {} +

# Pythons are tried in this order; PYTHON= skips the search.
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

# $(call install,ARGUMENTS): with uv where it is, else with pip.
define install
	@if command -v uv >/dev/null; then \
	  uv pip install --quiet --python $(BIN)/python $(1); \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1); \
	fi
endef

# Where PYTHON asks for one, the environment is looked at, however new it is.
ifneq ($(PYTHON),)
$(READY): FORCE
endif
.PHONY: FORCE
WHICH := import sys; print(sys.base_prefix)

# An environment that works is kept and brought up to date, unless PYTHON asks for another.
$(READY): requirements.lock pyproject.toml
	@set -e; \
	if $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null \
	    && { [ -z "$(PYTHON)" ] || [ "$$($(BIN)/python -c '$(WHICH)')" = "$$("$(PYTHON)" -c '$(WHICH)')" ]; } \
	    && $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "Bringing $(VENV) up to date"; exit 0; \
	fi; \
	python=; \
	for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "recjobs needs Python 3.11, 3.12 or 3.13. Tried: $(CANDIDATES)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi; \
	python=$$("$$python" -c 'import sys; print(sys.executable)'); \
	echo "Setting up $(VENV) with $$("$$python" --version) ($$python); a minute or two"; \
	rm -rf $(VENV); \
	if command -v uv >/dev/null; then \
	  uv venv --quiet --seed --python "$$python" $(VENV); \
	elif "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  "$$python" -m venv $(VENV); \
	else \
	  echo "$$python can't make an environment: it lacks the module venv or ensurepip." >&2; \
	  echo "On Debian or Ubuntu: apt-get install python3-venv. Or install uv. Then run this again." >&2; \
	  exit 1; \
	fi
	$(call install,-r requirements.lock)
	$(call install,--no-deps --editable .)
	@touch $@

$(BENCH_READY): $(READY)
	$(call install,--constraint requirements.lock --editable '.[bench]')
	@touch $@
