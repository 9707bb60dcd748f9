# The project's commands. Each creates the virtual environment it needs on first use.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin

.PHONY: demo test check bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed
	rm -rf results/demo
	$(RUN)/ranfer demo --out results/demo

test: $(VENV)/installed
	$(RUN)/python -m pytest

check: $(VENV)/installed
	scripts/check $(RUN)

bench: $(VENV)/installed
	$(RUN)/python scripts/bench.py

clean:
	rm -rf $(VENV) build dist results
