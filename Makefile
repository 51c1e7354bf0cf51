# make test: set up and run the tests. make demo: set up and build a cube of real exposures.
# PYTHON is the interpreter that the environment is made with; VENV is where it is made.
PYTHON ?= python3
VENV ?= .venv
DATA ?= ../shared/data
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: test demo lint clean

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

demo: $(INSTALLED)
	$(BIN)/python demo.py $(DATA)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist demo *.egg-info
