# make demo | test | test-slow | check | bench DATA=folder | study NAME=x DATA=folder
#
# The first target that needs it makes .venv. torch is installed first and by its exact version:
# what else asks for torch is then content with it. Where that is not the build you want (say, a
# CPU build on a machine without a GPU), give TORCH_INDEX=<address of the packages to use>.

PYTHON ?= python3
TORCH_INDEX ?=
DATA ?=
NAME ?=
ARGS ?=
# Tests run in as many processes as there are cores, four at most, each with one thread of torch's.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n > 4 ? 4 : n)))

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
PYTEST := OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
SCRIPTS := $(wildcard benchmarks/*.py studies/*.py)

.PHONY: help demo test test-slow check format bench study venv clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try make PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	rm -rf demo.nv
	$(BIN)/nestvec build --demo --out demo.nv
	$(BIN)/nestvec search demo.nv "read rows of a comma separated file" -k 3
	$(BIN)/nestvec search demo.nv "a temporary directory that removes itself" -k 3
	$(BIN)/nestvec search demo.nv "decode a base64 string" -k 3

test: $(READY)
	$(PYTEST) $(ARGS)

test-slow: $(READY)
	$(PYTEST) -m slow $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src/nestvec $(SCRIPTS)
	PYTHONPATH=src $(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	@for script in $(filter-out %_picture.py,$(wildcard benchmarks/*.py)); do \
		echo "== $$script"; \
		$(BIN)/python $$script $(if $(DATA),--data $(DATA)) $(ARGS) || exit 1; \
	done

study: $(READY)
	@test -n "$(NAME)" || { echo "name a study: make study NAME=x" >&2; exit 2; }
	$(BIN)/python -m studies.$(subst -,_,$(NAME)) $(if $(DATA),--data $(DATA)) $(ARGS)

clean:
	rm -rf demo.nv demo.nv.partial .mypy_cache .ruff_cache .pytest_cache .hypothesis
