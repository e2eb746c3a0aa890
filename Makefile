# Every target sets up what it needs by itself (scripts/bootstrap): a Python 3.13 and a network are enough.
.DEFAULT_GOAL := help
BIN := .venv/bin
# Half of what tests do is to wait for processes: three at a time for two processors.
PYTEST_ARGS ?= -n $(shell nproc | awk '{ print int($$1 * 3 / 2 + 0.5) }')

# What runs once more in an odd environment: a schema whose name needs quoting, unusual settings of the server, and
# an owner, a worker, a producer and an operator that are separate roles with the least rights.
ODD_ENVIRONMENT := HORSIES_TEST_SCHEMA='My "odd" schema' HORSIES_TEST_SETTINGS=odd HORSIES_TEST_ROLES=1
IN_ODD_ENVIRONMENT := $(addprefix tests/e2e/test_,$(addsuffix .py,outcomes cancelling progress workflows workflows_cli \
	scheduler cli_schedules queues looking maintenance heartbeats read_only_default)) \
	tests/db/worker/test_task_transaction.py tests/testing/test_drain.py \
	--deselect tests/e2e/test_scheduler.py::test_ten_days_of_schedulers_that_are_killed_and_stopped_at_random

# What runs once more through a PgBouncer, in each of its modes.
THROUGH_POOLER := $(addprefix tests/producer/test_,$(addsuffix .py,get sending pooler))
MORE_THROUGH_POOLER := tests/producer $(addprefix tests/e2e/test_,$(addsuffix .py,outcomes cancelling queues scheduler \
	transactional transactional_nodes pgbouncer))

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export NODE_NO_WARNINGS := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: help setup demo demo-web test test-pooler test-postgres-versions test-sends test-lowest test-newest chaos screenshots lint types docs bench bench-peers bench-growth lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "make %-28s %s\n", $$1, $$2 }' Makefile

setup: ## Create .venv with the locked packages; the other targets do this as well
	@sh scripts/bootstrap

demo: setup ## Start an embedded PostgreSQL and a worker, send tasks, and show their results
	@$(BIN)/python examples/demo.py

demo-web: setup ## Fill queues with tasks of all kinds, and serve the web interface, until Ctrl-C; PORT=8765
	@$(BIN)/python examples/demo_web.py

test: export HORSIES_TEST_SITE := build/site
test: lint types docs ## Run everything that CI runs; PYTEST_ARGS="-k name" narrows the tests
	@$(BIN)/python -m tests.support.versions 12 -- -q $(PYTEST_ARGS) --ignore tests/db/test_workflow_oracle.py tests/db tests/e2e/test_outcomes.py tests/e2e/test_odd_names.py
	@$(ODD_ENVIRONMENT) $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(IN_ODD_ENVIRONMENT)
	@HORSIES_TEST_POOLER=session $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(THROUGH_POOLER)
	@HORSIES_TEST_POOLER=transaction $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(THROUGH_POOLER)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-pooler: setup ## Run the tests of producers and of workers through a PgBouncer, in session and in transaction mode
	@HORSIES_TEST_POOLER=session $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(MORE_THROUGH_POOLER)
	@HORSIES_TEST_POOLER=transaction $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(MORE_THROUGH_POOLER)

test-postgres-versions: setup ## Run the tests of the database, producers and workers on PostgreSQL 12, 15 and 18
	@$(BIN)/python -m tests.support.versions 12 15 18 -- -q $(PYTEST_ARGS) tests/db tests/producer tests/e2e

test-sends: setup ## Send through 2,000 cuts and 100 kills, alone and in bulk, with random keys, and 1,000,000 tasks at once
	@$(BIN)/python -m tests.producer.replays single
	@$(BIN)/python -m tests.producer.replays many
	@HORSIES_ONCE_OPERATIONS=10000 $(BIN)/python -m pytest -q --timeout=1800 tests/producer/test_once_model.py
	@HORSIES_TASKS_AT_ONCE=1000000 $(BIN)/python -m pytest -q --timeout=1800 tests/producer/test_send_many_memory.py

test-lowest test-newest: test-%: setup ## Run fast tests with the lowest, or the newest, allowed versions of the dependencies
	@sh scripts/other-dependencies $*
	@.tools/$*/bin/python -m pytest -q $(PYTEST_ARGS) tests/unit tests/producer tests/e2e/test_outcomes.py tests/e2e/test_cli.py

chaos: setup ## Inject faults for half an hour; SEED=x repeats a plan, SCALE=0.1 is shorter
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE))

screenshots: setup ## Take the pictures of the web interface for docs, in a real Chromium; takes 4 minutes
	@$(BIN)/python -m tests.support.screenshots $(ARGS)

lint: setup ## Check style, format and import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: setup ## Check types with pyright and mypy
	@$(BIN)/pyright
	@$(BIN)/mypy

docs: setup ## Build the documentation site into build/site; a broken link fails the build
	@$(BIN)/mkdocs build # not --quiet: that also hides warnings from the strict mode

bench: setup ## Run the benchmarks on an embedded PostgreSQL; see benchmarks/README.md
	@$(BIN)/python benchmarks/run.py

bench-peers: setup ## Compare horsies with other task queues, and write the numbers into docs; ARGS="--quick" writes none
	@$(BIN)/python benchmarks/peers.py $(ARGS)

bench-growth: setup ## Measure costs as tables, payloads and distances grow, and write them into docs; ARGS="--quick" writes none
	@$(BIN)/python benchmarks/growth.py $(ARGS)

lock: setup ## Update requirements-dev.lock from pyproject.toml; UPGRADE=1 upgrades all packages
	@test -x .tools/uv/bin/uv || { $(BIN)/python -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet uv; }
	@.tools/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.13 $(if $(UPGRADE),--upgrade) \
		--all-extras --group dev --generate-hashes --custom-compile-command "make lock" \
		--output-file requirements-dev.lock pyproject.toml

clean: ## Remove .venv, tools, caches and builds; keeps databases below .horsies
	@rm -rf .venv .tools build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
