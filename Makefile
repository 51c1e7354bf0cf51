# make test: set up and run the tests. make demo: set up, simulate a survey and build its cubes.
# make docs: write the tables of the pages anew and build them, docs/_build/html/index.html.
# PYTHON is the interpreter that the environment is made with; VENV is where it is made.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: test demo docs lint clean

test: $(INSTALLED)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

demo: $(INSTALLED)
	$(BIN)/python demo.py

docs: $(INSTALLED)
	$(BIN)/python docs/_ext/generated.py
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist demo docs/_build *.egg-info
