# What people do here; `make` alone lists it. Everything it needs is put into .venv first.

BIN := .venv/bin
READY := .venv/.ready
RIGHT_PYTHON := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

.SILENT:
.PHONY: help demo test unit integration vm-test deb fuzz soak lint format bench lock clean

help: ## Show this list
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: $(READY) ## Cut the mains of a simulated rack and watch the real daemon shut it down
	$(BIN)/python -m hardware_sim demo

test: $(READY) ## Run everything that has to pass: lint, then the tests
	sh tests/install-packages
	$(MAKE) --no-print-directory lint
	echo "the tests run side by side; each kind is shown when it has ended"
	$(MAKE) --no-print-directory --jobs --output-sync=target unit integration

# Those in virtual time take what the others leave, which wait for real programs.
unit: $(READY) ## Only what needs nothing but processors: the unit tests and the simulated outages
	nice -n 19 $(BIN)/pytest -n 2 --timeout 600 tests/unit tests/sim

integration: $(READY) ## Only the tests with real brokers, SSH servers, kubectl and NUT
	$(BIN)/pytest tests/integration

vm-test: $(READY) ## Play whole outages on real machines: Debian guests with a kernel and systemd (K=word for some; as root)
	sh tests/install-packages tests/vm/apt-packages
	$(BIN)/python -m tests.vm $(if $(K),-k "$(K)")

deb: $(READY) ## Build the Debian package, into dist/
	command -v strip >/dev/null || sh tests/install-packages binutils
	cd config && ../$(BIN)/python -m debian ../dist

fuzz: $(READY) ## Ten million damaged replies through what reads the UPS (MILLIONS=1 for fewer, SEED=n for the same)
	$(BIN)/python -m tests.fuzz --millions $(or $(MILLIONS),10) $(if $(SEED),--seed $(SEED))

soak: $(READY) ## A hundred thousand simulated outages (RUNS=n for fewer, SEED=n for the same)
	$(BIN)/python -m hardware_sim outages --runs $(or $(RUNS),100000) $(if $(SEED),--seed $(SEED))

lint: $(READY) ## Check style, types and which room imports what
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	contracts=$$($(BIN)/lint-imports --no-logo) || { echo "$$contracts"; exit 1; }

format: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

bench: $(READY) ## Measure memory, CPU, start-up (B=footprint), reaction time beside NUT (B=latency), the plan (B=plan), the drain beside kubectl (B=drain)
	$(BIN)/python -m tests.bench $(B)

lock: $(READY) ## Pin the newest versions of all dependencies
	$(BIN)/python -m pip install -qq uv
	set -e; lock() { $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml "$$@"; }; \
	lock --all-extras --group dev --output-file .requirements-dev.lock; \
	sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' .requirements-dev.lock | lock --constraint - --output-file .requirements.lock

clean: ## Remove everything that was made here
	rm -rf .venv dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml .requirements-dev.lock
	echo "preparing .venv (once, and again when the dependencies change)"
	find_python() { \
	    for python in python3.13 python3.12 python3.11 python3; do \
	        $$python -c '$(RIGHT_PYTHON)' 2>/dev/null && echo $$python && return; \
	    done; \
	}; \
	if ! $(BIN)/python -c '$(RIGHT_PYTHON)' 2>/dev/null; then \
	    python=$$(find_python) || { sh tests/install-packages python3-venv; python=$$(find_python); } || { \
	        echo "There is no Python 3.11 or newer that can make a virtual environment;" \
	            "on Debian: apt-get install python3-venv" >&2; \
	        exit 1; \
	    }; \
	    $$python -m venv --clear .venv; \
	fi
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --requirement .requirements-dev.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
