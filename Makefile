# make run    train through the emulated switch, in one command
# make test   every check that a change must pass
#
# Both make .venv first, and install again only when the pins below change.
# `make PYTHON=/path/to/python3.12` chooses the interpreter; the pins were made on 3.11.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# by name: ruff would format the examples in Markdown too
SOURCES := switch host intswitch tests benchmarks examples
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3

# A name on PATH may be a shim of nothing, and some systems ship Python without venv:
# only running it tells.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(PYTHONS); do \
	$$p -c '$(USABLE)' >/dev/null 2>&1 && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help install run test lint pytest bench bench-bmv2 clean

help:
	@echo 'make run    train MNIST through the emulated switch, IntSGD int8 beside exact'
	@echo 'make test   ruff, mypy and the tests'
	@echo 'make bench  throughput and latency beside gloo and a bare UDP echo'
	@echo 'make bench-bmv2  the emulated switch beside BMv2 (root, BMv2 and p4c)'
	@echo 'make clean  remove .venv, caches and results'

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'no Python >= 3.11 with venv: make PYTHON=...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(STAMP)
	$(BIN)/intswitch compare --workload mnist --topology star --seeds 1 \
		-c intsgd:element_type=int8 -c exact

test: lint pytest

# ruff's cache does not see that a module appeared, which decides how imports are sorted
lint: $(STAMP)
	$(BIN)/ruff check --no-cache $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

# two processes: much of the time goes into compiling and into waiting
pytest: lint
	$(BIN)/pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-bmv2: $(STAMP)
	$(BIN)/python -m benchmarks.bmv2

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
