# `make run` and `make test` do everything on a fresh machine with Python 3.11; both may be repeated.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
DONE := $(VENV)/.installed

.PHONY: run test setup
run: setup
	$(VENV)/bin/kindred demo --if-empty
	$(VENV)/bin/kindred serve --open

test: setup
	scripts/check

setup: $(DONE)

$(DONE): requirements.txt requirements-nodeps.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Kindred needs Python 3.11 (found $$($(PYTHON) --version)). Set PYTHON=/path/to/python3.11."; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.txt names; the first time takes some minutes."
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	@echo "Compiling what lays maps out, once."
	$(VENV)/bin/python -c 'from kindred.maps.layout import warm_up; warm_up()'
	touch $(DONE)
