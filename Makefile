# The project's commands. Each creates the virtual environment it needs on first use.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin

.PHONY: demo test test-postgres test-browser check bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed
	rm -rf results/demo
	$(RUN)/ranfer demo --out results/demo

test: $(VENV)/installed
	$(RUN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# These need Debian's packages and, where they are missing, the right to install them.
test-postgres: $(VENV)/installed
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || (apt-get update && apt-get install -y postgresql)
	$(RUN)/python -m pytest -m postgres tests/test_annotation_store.py

test-browser: $(VENV)/installed
	for tool in chromium npm; do command -v $$tool >/dev/null || { apt-get update && apt-get install -y $$tool; } || exit 1; done
	cd tests/browser && npm install --no-audit --no-fund --silent
	PYTHON=$(CURDIR)/$(RUN)/python node --test --test-concurrency=1 tests/browser/annotator.test.mjs tests/browser/outbox.test.mjs

check: $(VENV)/installed
	scripts/check $(RUN)

bench: $(VENV)/installed
	$(RUN)/python scripts/bench.py

clean:
	rm -rf $(VENV) build dist results
