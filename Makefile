# Everything one does with this folder. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
PIP_TOOLS := pip-tools==7.6.2
LOCK := compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.DEFAULT_GOAL := help
.PHONY: help run env test test-faults lint types check format lock bench bench-distributed clean environment dev-environment

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

run: environment  ## Start Tidings, everything in one process; Ctrl-C stops it
	@exec $(BIN)/tidings serve

env:  ## Write .env with random secrets, for docker compose; one that is there stays
	@sh deploy/make-env.sh

test: dev-environment  ## Run all tests; TESTS="tests/queue -k lanes" runs some
	@$(BIN)/python -m pytest $(TESTS)

test-faults: dev-environment  ## Run the whole fault suite, see docs/faults.md
	@$(BIN)/python -m pytest tests/faults -m "faults or not faults" $(TESTS)

lint: dev-environment  ## Check style and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: dev-environment  ## Check types, strictly
	@$(BIN)/mypy --explicit-package-bases src tests tools

check: lint types test  ## Everything that CI checks

format: dev-environment  ## Format the code, and mend what can be mended by itself
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: environment  ## Measure this machine and Tidings on it; BENCH="…" passes options
	@exec $(BIN)/tidings bench $(BENCH)

bench-distributed: dev-environment  ## The same over a RabbitMQ and a Redis that are started for it
	@$(BIN)/python -m tests.bench_servers -- $(BIN)/tidings bench --distributed $(BENCH)

lock: dev-environment  ## Pin what requirements/*.in allow, with hashes; UPGRADE=--upgrade takes the newest
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m venv --without-pip "$$folder" && \
	$(BIN)/python -m pip --python "$$folder/bin/python" install --quiet -r requirements/build.txt && \
	"$$folder/bin/python" -m pip install --quiet $(PIP_TOOLS) && \
	cd requirements && for name in build run dev; do \
		echo "  requirements/$$name.txt" && CUSTOM_COMPILE_COMMAND="make lock" \
		"$$folder/bin/python" -m piptools $(LOCK) $(UPGRADE) --output-file $$name.txt $$name.in || exit 1; \
	done

clean:  ## Remove the environment and caches; the service's data stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@$(PYTHON) tools/environment.py run

dev-environment:
	@$(PYTHON) tools/environment.py dev
