# Everything a clean clone needs is Python 3.11 or newer and make; the first target run creates .venv.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
INSTALLED := $(VENV)/.installed
PYTEST := $(VENV)/bin/pytest
PYTEST_OPTIONS ?=

E2E_PROGRAMS := prometheus promtool prometheus-alertmanager amtool chromium chromedriver curl openssl \
	buildah podman runc debootstrap systemd-analyze ip kubectl npm shellcheck
E2E_PACKAGES := prometheus prometheus-alertmanager chromium chromium-driver curl openssl \
	buildah podman runc debootstrap systemd iproute2 python3-venv kubernetes-client npm shellcheck
MISSING = $(strip $(foreach program,$(E2E_PROGRAMS),$(if $(shell command -v $(program) 2>/dev/null),,$(program))))

COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --upgrade --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help demo test lint bench e2e docs dashboards contract lock clean

help:
	@echo "make demo    the exporter against its simulated cloud"
	@echo "make test    unit tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measurements against the targets of docs/performance.md"
	@echo "make e2e     tests with real Prometheus, Alertmanager and Chromium"
	@echo "make docs    docs/metrics.md and the tables of docs/configuration.md, from the code"
	@echo "make dashboards  dashboards/grafana/*.json from their description"
	@echo "make contract  metrics, settings and commands as this release promises them (docs/stability.md)"
	@echo "make lock    newer versions into requirements*.txt (with Python 3.11)"
	@echo "make clean   remove .venv and caches"

$(INSTALLED): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer not found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(VENV)/bin/pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(INSTALLED)
	$(VENV)/bin/enphase-ev-exporter demo

test: $(INSTALLED)
	$(PYTEST) -m "not e2e" $(PYTEST_OPTIONS)
	@if [ -n "$(MISSING)" ]; then \
		echo "Not run: the end-to-end tests. This machine lacks $(MISSING)."; \
		echo "On Debian: apt-get install $(E2E_PACKAGES); then: make e2e"; \
	else \
		echo "Not run: the end-to-end tests. This machine has what they need: make e2e"; \
	fi

lint: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(INSTALLED)
	$(VENV)/bin/python -m bench

e2e: $(INSTALLED)
	@if [ -n "$(MISSING)" ]; then \
		echo "make e2e needs $(MISSING); on Debian: apt-get install $(E2E_PACKAGES)" >&2; exit 1; fi
	$(PYTEST) -m e2e $(PYTEST_OPTIONS)

docs: $(INSTALLED)
	$(VENV)/bin/enphase-ev-exporter metrics-doc > docs/metrics.md
	$(VENV)/bin/python -m exporter.config_doc docs/configuration.md

dashboards: $(INSTALLED)
	$(VENV)/bin/python -m dashboards.grafana.build
	$(VENV)/bin/python deploy/kubernetes/generate.py

contract: $(INSTALLED)
	$(VENV)/bin/python -m tests.contract

lock: $(INSTALLED)
	@# What newer Pythons need is part of what 3.11 needs, and not the other way round.
	@$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info[:2] > (3, 11) and "make lock needs a .venv of Python 3.11")'
	$(COMPILE) --output-file requirements.txt pyproject.toml
	$(COMPILE) --extra dev --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
