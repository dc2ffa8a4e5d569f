# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
# Each makes the environment in .venv where it is missing.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   ?= demo
# Small networks gain nothing from a second thread, and spinning threads cost dear on a busy machine.
export OMP_NUM_THREADS ?= 1

.PHONY: help env demo test lint bench peers clean

help:
	@echo "make demo    record, train, evaluate and report on fetch-pick-place, into $(DEMO)/"
	@echo "make test    the test suite, with the linters"
	@echo "make lint    ruff and mypy"
	@echo "make bench   every benchmark, beside the peers that are installed; writes benchmarks/results/"
	@echo "make peers   the peers' own environments, in .peers/"
	@echo "make clean   removes the environments, caches and the demo's output"

env: $(READY)

# torch comes first and pinned: unpinned, it brings gigabytes of GPU libraries.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/understudy demo --out $(DEMO)

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/python benchmarks/run.py

peers:
	bash benchmarks/peers/setup.sh

clean:
	rm -rf $(VENV) .peers $(DEMO) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
