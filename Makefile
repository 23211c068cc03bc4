# `make bench` and `make test` do everything from a bare python3.
#
#   make bench TORCH=torch==2.11.0 PIP_ARGS="--index-url URL"   another build of torch
#   make bench ARGS="--arch lstm,llama --size 3m"               another sweep (pytest's options)
#   make peers                                                  our ops against the usual ones

PYTHON ?= python3
VENV ?= .venv
TORCH ?= $(shell grep '^torch==' constraints.txt)
PIP_ARGS ?=
ARGS ?=
OUT ?= report-out

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: bench test peers clean
.DELETE_ON_ERROR:

# one failed cell must not cost the report of all the others
bench: $(VENV)/core
	@status=0; $(BIN)/python -m pytest benchmarks $(ARGS) || status=$$?; \
	$(BIN)/python -m report build --out $(OUT) && exit $$status

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n auto --maxprocesses 4 --dist loadfile

# our ops against the implementations users would otherwise pick: the ratio table, and its Records
peers: $(VENV)/test
	@$(BIN)/python -m benchmarks peers $(ARGS) && $(BIN)/python -m report peers

$(VENV)/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("seqfrontier needs Python 3.11 or newer; make PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python3 cannot make a virtual environment; install your system's python3-venv package"; exit 1; }
	@echo "installing into $(VENV) ($(TORCH))"
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt && echo '$(TORCH)' >> $(VENV)/constraints.txt
	@$(PIP) --constraint $(VENV)/constraints.txt --editable .
	@touch $@

$(VENV)/test: $(VENV)/core
	@$(PIP) --constraint $(VENV)/constraints.txt --editable '.[test,peers]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks
