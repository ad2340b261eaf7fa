# One-line commands; people and CI call the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ALL_EXTRAS := mpich,sparse,compress,remote,examples,test,dev,bench

.PHONY: run test check fmt bench examples clean

run: $(VENV)/.run  ## word count on the real text: 2 workers, 2 servers, the ten most frequent words
	$(BIN)/prun -w 2 -p 2 -c examples/word_count/word_count.json examples/word_count/word_count.py

test: $(VENV)/.all  ## every test
	$(BIN)/python -m pytest -n auto tests/unit tests/property tests/test_architecture.py
	$(BIN)/python -m pytest -n auto --dist loadfile tests/examples
	$(BIN)/python -m pytest tests/test_docs.py tests/sim tests/process tests/mpi tests/launch

check: $(VENV)/.all  ## format, lint, types, layers and the fast tests
	$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q -n auto -m "not process" tests/unit tests/test_architecture.py tests/test_docs.py

fmt: $(VENV)/.all  ## format, and mend what the linter can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.all  ## the table of docs/performance.md
	$(BIN)/python -m benchmarks

examples: $(VENV)/.all  ## run every example as its users do
	$(BIN)/python -m pytest -n auto --dist loadfile tests/examples

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[mpich]'
	touch $@

$(VENV)/.all: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[$(ALL_EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
