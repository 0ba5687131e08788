# Two commands do all the set-up on a fresh machine with Python 3.11 or newer: make demo, make test.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint type format formats lock phantom-study suggest-study learn benchmarks gpu-check stain-sheet faults image image-smoke clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(VENV)/ready ## make .venv from the lock; does nothing when it is current

$(VENV)/ready: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or set PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## the whole road on a built-in phantom; prints last where the report is
	$(BIN)/histoscope demo --out out/demo

test: setup ## all tests but the slow ones
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-slow: setup ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

lint: setup ## ruff, format and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

type: setup ## mypy, strict for core
	$(BIN)/mypy

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

formats: setup ## write the tables of settings into docs/formats.md
	$(BIN)/python -m tests.formats_rows

lock: setup ## make the locks anew
	$(BIN)/uv pip compile pyproject.toml --override docker/without.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml docker/build.in --override docker/without.in --extra dev -c requirements.lock --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--upgrade -q -o requirements-dev.lock
	$(BIN)/uv pip compile docker/build.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade -q -o docker/build.lock

phantom-study: setup ## ten draws: what pretraining gains on the phantom (at most 15 minutes)
	$(BIN)/histoscope demo --out out/phantom-study --steps 300 --draws 10 --require-gain 0.08

suggest-study: setup ## 40 suggested labels against 40 random ones, on what phantom-study left (and STORE, ENCODER)
	$(BIN)/python -m tests.benchmarks.suggest_study $(or $(STORE),out/phantom-study/store) $(or $(ENCODER),out/phantom-study/run) $(if $(TASK),--task $(TASK))

learn: setup ## what each way of learning gains on PCAM (and PLACES), row by row; hours
	$(BIN)/python -m tests.benchmarks.learn $(PCAM) out/learn $(if $(PLACES),--places $(PLACES)) --page docs/learn.md

benchmarks: setup ## ratios, each measured in one run
	$(BIN)/python -m tests.benchmarks

gpu-check: setup ## images a second on one GPU, beside lightly's loop; appended to docs/gpu.md
	$(BIN)/python -m tests.benchmarks.gpu

stain-sheet: setup ## draw docs/stain.jpg anew from the real test data
	$(BIN)/python -m tests.stain_sheet

faults: setup ## what must not go wrong, tried at length: videos, kills, slides, operations (or PART=one of them)
	$(BIN)/python -m tests.faults $(PART)

image: ## build the container image with docker, podman or IMAGE_TOOL
	docker/image.sh build

image-smoke: setup ## doctor and predict in the image, without network
	docker/image.sh smoke

clean: ## remove outputs, not .venv
	rm -rf out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
