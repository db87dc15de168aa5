# Verbs of Ratchet. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
START ?= 2013-05-28
WEEKS ?= 10
STARTS ?= 2013-03-12,2013-04-23,2013-05-28,2013-07-16,2013-09-10
SEEDS ?= 1
SCALE ?= 0
ENGINE ?= duckdb
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED := False
# Importing Airflow writes its configuration file: under var/ with everything else.
export AIRFLOW_HOME := $(CURDIR)/var/airflow

.PHONY: story bench-data bench-feedback feedback-api bench-judge bench-monitor help setup demo demo-smoke trials clean-demo up mlflow status docs test test-faults lint format lock

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else "Ratchet runs on Python 3.11, this is %d.%d; set PYTHON=python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.lock into $(VENV) (minutes, the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

setup: $(VENV)/.installed ## environment and databases, skipping what is done
	@mkdir -p var/airflow
	@$(BIN)/ratchet setup

demo: setup ## replay flights of 2013 through the scheduler (START=, SEED=, WEEKS=)
	@$(BIN)/ratchet replay --start $(START) --seed $(SEED) --weeks $(WEEKS)

demo-smoke: setup ## four weeks; every stage must run, the loop need not close
	@$(BIN)/ratchet replay --start $(START) --seed $(SEED) --weeks 4 --smoke

trials: setup ## other seasons and travellers: what the loop did from each start (STARTS=, SEEDS=)
	@$(BIN)/ratchet trials --starts $(STARTS) --seeds $(SEEDS) --weeks $(WEEKS)

story: setup ## one complaint from the first answer to the last receipt, in a folder of its own
	@$(BIN)/ratchet story

clean-demo: ## remove all state of the demo
	rm -rf var

up: setup ## the Airflow UI on the state that the demo left
	@$(BIN)/ratchet up

mlflow: setup ## the MLflow UI on the state that the demo left
	@$(BIN)/ratchet mlflow

feedback-api: setup ## take feedback over HTTP on port 8090 (PORT=)
	@$(BIN)/ratchet feedback serve --port $(or $(PORT),8090)

status: setup ## what serves, what is on trial, what is waiting
	@$(BIN)/ratchet status

docs: $(VENV)/.installed ## write the generated pages
	@$(BIN)/ratchet docs

test: $(VENV)/.installed lint ## tests and linters
	@mkdir -p var/airflow
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-faults: $(VENV)/.installed ## kills, crashes, full disks, orders: about an hour, writes docs/fault-trials.md (GROUP=)
	@PYTHONPATH=$(CURDIR)/plugins:$(CURDIR) $(BIN)/python -m tests.faults.run --group $(or $(GROUP),all)

bench-data: $(VENV)/.installed ## speed and memory of the data plane against bare SQL (SCALE=, ENGINE=, DOCS=1)
	@mkdir -p var/airflow
	@$(BIN)/python -m benchmarks.data --scale $(SCALE) --engine $(ENGINE) $(if $(DOCS),--write-docs)

bench-judge: $(VENV)/.installed ## the decision tables by simulation, the naive rules beside ours (RUNS=, DOCS=1)
	@mkdir -p var/airflow
	@$(BIN)/python -m benchmarks.judge --runs $(or $(RUNS),10000) $(if $(DOCS),--write-docs)

bench-monitor: $(VENV)/.installed ## monitoring beside Evidently and NannyML, false alarms, planted incidents (RUNS=, SCALE=, DOCS=1)
	@mkdir -p var/airflow
	@$(BIN)/python -m benchmarks.monitor --runs $(or $(RUNS),30) $(if $(filter-out 0,$(SCALE)),--scale $(SCALE)) $(if $(DOCS),--write-docs)

bench-feedback: $(VENV)/.installed ## redaction, categories and speed on simulated texts in four languages (DOCS=1)
	@mkdir -p var/airflow
	@$(BIN)/python -m benchmarks.feedback $(if $(DOCS),--write-docs)

lint: $(VENV)/.installed ## ruff, mypy, import rules, SQL style
	@mkdir -p var/airflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint dbt

format: $(VENV)/.installed ## put Python and SQL into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix dbt

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev pyproject.toml -o requirements.lock
