# One-line commands; people and CI call the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := mpich,examples,test,dev,bench

.PHONY: run test check fmt bench examples setup clean

run: setup  ## word count on the real text: 2 workers, 2 servers, the ten most frequent words
	$(BIN)/python prun.py -w 2 -p 2 -c examples/word_count/word_count.json examples/word_count/word_count.py

test: setup  ## every test
	$(BIN)/python -m pytest

check: setup  ## format, lint, types, layers and the fast tests
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/unit tests/test_architecture.py tests/test_docs.py

fmt: setup  ## format, and mend what the linter can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup  ## the table of docs/performance.md
	$(BIN)/python -m benchmarks

examples: setup  ## run every example
	$(BIN)/python -m pytest tests/examples

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
