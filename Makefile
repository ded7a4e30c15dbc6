# Two commands for newcomers: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
BOOTSTRAP := $(PYTHON) infra/environments/bootstrap.py
# Prefect's and MLflow's laptop state lives with the project; TUNEGATE_* and PREFECT_API_URL override.
export PREFECT_HOME ?= $(CURDIR)/.tunegate/prefect
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# In memory, leases would end with the server, and their runs with them.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE := prefect.server.concurrency.lease_storage.filesystem
export MLFLOW_DISABLE_TELEMETRY := true
# A process a core for tests, and a file's tests all in one: its fixtures are made once. BESIDE= runs them in one process.
BESIDE ?= -n logical --maxprocesses 6 --dist loadfile

.PHONY: help setup llamacpp demo test test-all gpu-check lint docs lock mlflow-ui prefect-ui workers clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## Make both environments (a second call installs nothing)
	@$(BOOTSTRAP) pipeline serve

llamacpp: setup  ## A third environment with llama.cpp: its quantizer for exports, its server for engine checks
	@$(BOOTSTRAP) llamacpp

demo: setup  ## The whole chain: data to a served, gated 4-bit model (KEEP=1: leave it serving)
	@$(BIN)/tunegate doctor
	@$(BIN)/tunegate run $(if $(KEEP),--keep-serving)

test: setup  ## Fast tests (no training, no vLLM): minutes
	@$(BIN)/python -m pytest $(BESIDE)

test-all: setup  ## All tests that run without a GPU and without a model hub
	@$(BIN)/python -m pytest $(BESIDE) -m "not alone and not e2e and not gpu and not net"
	@$(BIN)/python -m pytest -m "(alone or e2e) and not gpu and not net"

gpu-check: setup  ## Training, merge, quantization, memory and vLLM on one GPU, 8 minutes at most (skipped without one)
	@$(BIN)/python tests/gpu/check.py

lint: setup  ## Linter, formatter, type checker, floors (no room imports from one above it)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

docs: setup  ## Write the docs that are made of the code: floors.svg, formats.md, gateway.md, its OpenAPI document, facts.md
	@$(BIN)/python docs/draw_floors.py
	@$(BIN)/python docs/write_formats.py
	@$(BIN)/python docs/write_gateway.py
	@$(BIN)/tunegate review facts --to docs/facts.md

lock: setup  ## Write the locks again from their .in files
	@cd infra/environments && for name in pipeline serve llamacpp; do \
	  ../../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --overrides no-torch.txt --no-header \
	    --no-annotate $$name.in -o $$name.lock; done; \
	  ../../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	    serve-cuda.in -o serve-cuda.lock

mlflow-ui: setup  ## MLflow on http://127.0.0.1:5000
	@$(BIN)/mlflow server --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/.tunegate/mlflow.db} --host 127.0.0.1

prefect-ui: setup  ## Prefect server on http://127.0.0.1:4200
	@mkdir -p "$$PREFECT_HOME" && $(BIN)/prefect server start --host 127.0.0.1

workers: setup  ## Pools, deployments and one worker a pool (needs a server: make prefect-ui in another terminal)
	@$(BIN)/python -m flows.workers

clean:  ## Remove outputs and local state (asks first); environments and data stay
	@printf 'remove .tunegate, data/prepared, data/models, data/reports? [y/N] '; read answer; \
	  [ "$$answer" = y ] && rm -rf .tunegate data/prepared data/models data/reports || echo kept
