# Everything here works on a machine that has Python >= 3.11 and nothing else: `.venv` is made on the way.
#
#   make demo [ARGS="--seed 2"]   a model's whole life, real data, a minute
#   make test                     lint, then every test that is not marked `long`
#   make test-long                the long ones too
#   make test-toolkits [TOOLKITS="pytorch r"]   of these, the tests of model toolkits, each in its own environment
#   make conformance SRC=../mlflow   MLflow's own tests (a source checkout, see docs/mlflow-compatibility.md) against our server
#   make lint | format | bench | lock | mlflow-toolkits | clean

PYTHON ?= python3
SRC ?= ../mlflow
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --require-hashes --progress-bar off --quiet
PACKAGE := $(PIP) install --no-deps --no-build-isolation --quiet --editable .
# The header and the address lines would name the machine that ran it.
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# MLflow's clients, and those of the inference protocols, each in an environment of its own beside ours: what they need
# and what we need would not fit into one.
CLIENTS := .venv/mlflow-3.12/.done .venv/mlflow-newest/.done .venv/client-oip/.done .venv/client-kserve/.done

# Toolkits, each in an environment on top of ours that holds what ours lacks. MLflow, to exchange models, and all that it
# needs lie in one between, .venv/toolkits, which they share.
ALL_TOOLKITS := $(patsubst requirements/toolkit-%.in,%,$(wildcard requirements/toolkit-*.in))
TOOLKITS := $(ALL_TOOLKITS)

# Environments of clients and toolkits take 5 GB together. `make test KEEP=` removes each once its tests have passed.
KEEP ?= yes

# One thread per process: the tests start many processes, and thread pools on top of them only fight for the cores.
test test-long test-toolkits: export OMP_NUM_THREADS = 1
test test-long test-toolkits: export POLARS_MAX_THREADS = 1
# And what one of them has compiled stays compiled, whatever the environment says, or each would do it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long test-toolkits clients conformance mlflow-toolkits lint format bench lock clean
.DEFAULT_GOAL := test

demo: .venv/.base
	$(BIN)/perennial demo $(ARGS)

test: lint clients
	$(BIN)/python -m pytest -n 2 $(ARGS)
	$(if $(KEEP),,rm -rf $(CLIENTS:%/.done=%))
	$(MAKE) --no-print-directory test-toolkits

# While the tests of one toolkit run, the next is installed, in silence: what fails there is done again, and told, when it
# is that one's turn.
test-toolkits: .venv/.dev
	@set -- $(TOOLKITS); while [ $$# -gt 0 ]; do \
		$(MAKE) --no-print-directory --silent .venv/toolkit-$$1/.done || exit 1; \
		[ $$# = 1 ] || { $(MAKE) .venv/toolkit-$$2/.done >/dev/null 2>&1 & next=$$!; }; \
		echo "tests of $$1"; \
		.venv/toolkit-$$1/bin/python -m pytest -n 2 tests/toolkits/$$1 || { kill $$next; exit 1; } 2>/dev/null; \
		$(if $(KEEP),,rm -rf .venv/toolkit-$$1;) \
		[ $$# = 1 ] || wait $$next; \
		shift; \
	done
	@$(if $(KEEP),,rm -rf .venv/toolkits)

test-long: lint clients
	$(BIN)/python -m pytest -n 2 -m "long or not long" $(ARGS)

conformance: .venv/.base .venv/mlflow-suite/.done
	$(BIN)/python tests/mlflow/conformance.py $(SRC) .venv/mlflow-suite/bin/python $(ARGS)

clients: .venv/.dev
	@$(MAKE) --no-print-directory -j 2 $(CLIENTS)

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.dev
	$(BIN)/python benchmarks/run.py $(ARGS)

# Pins again, to the newest versions that the ranges allow: `make lock ARGS=--upgrade` (see requirements/README.md).
lock: .venv/.base
	$(PIP) install --quiet pip-tools
	$(COMPILE) $(ARGS) --output-file requirements/base.txt pyproject.toml
	$(COMPILE) $(ARGS) --output-file requirements/dev.txt requirements/dev.in
	$(COMPILE) $(ARGS) --output-file requirements/build.txt requirements/build.in
	$(COMPILE) $(ARGS) --output-file requirements/mlflow-3.12.txt requirements/mlflow-3.12.in
	$(COMPILE) $(ARGS) --output-file requirements/mlflow-newest.txt requirements/mlflow-newest.in
	$(COMPILE) $(ARGS) --output-file requirements/client-oip.txt requirements/client-oip.in
	$(COMPILE) $(ARGS) --output-file requirements/client-kserve.txt requirements/client-kserve.in
# What comes at the end of a list is kept where it fits: all toolkits have what R's list names as R has it, MLflow alone and ours.
	cat requirements/dev.txt >>requirements/toolkit-r.txt
	$(COMPILE) $(ARGS) --output-file requirements/toolkit-r.txt requirements/toolkit-r.in
	for list in $(patsubst %,requirements/toolkit-%,$(filter-out pytorch r,$(ALL_TOOLKITS))); do \
		cat requirements/toolkit-r.txt >>$$list.txt && $(COMPILE) $(ARGS) --output-file $$list.txt $$list.in || exit 1; \
	done

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis perennial-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: a second `make` installs nothing unless a file named here has changed.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
		echo "Perennial needs Python 3.11 to 3.13, and '$(PYTHON)' is not one of them. Install one, then: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "This Python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv

.venv/.base: .venv/bin/python pyproject.toml requirements/base.txt requirements/build.txt
	@echo "installing the package and what it needs (a minute or two the first time)"
	@$(INSTALL) -r requirements/base.txt -r requirements/build.txt
	@$(PACKAGE)
	@touch $@

.venv/.dev: .venv/.base requirements/dev.txt
	@echo "installing what the tests need"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

# Clients of others in environments of their own, with what they need and nothing of ours.
define alone
	@echo "installing a client into $(@D) (one to two minutes the first time)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check install --require-hashes --progress-bar off --quiet -r $<
	@touch $@
endef

.venv/mlflow-%/.done: requirements/mlflow-%.txt | .venv/bin/python
	$(alone)

.venv/client-%/.done: requirements/client-%.txt | .venv/bin/python
	$(alone)

# On top of the environment $(1): what is there already, in the version that the list names, is not installed again. Nor
# is pip: the one below is found. Of thousands of modules some hundred are imported: they are compiled then.
define layered
	@echo "installing $(2) into $(@D) (a minute the first time)"
	@$(PYTHON) -m venv --clear --without-pip $(@D)
	@$(1)/bin/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		>$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/perennial-base.pth
	@$(@D)/bin/python -m pip --disable-pip-version-check install --no-compile --progress-bar off --quiet $(3) -r $<
	@touch $@
endef

# R's list is MLflow alone.
.venv/toolkits/.done: requirements/toolkit-r.txt .venv/.dev
	$(call layered,.venv,what toolkits share,--require-hashes)

.venv/toolkit-otel/.done: requirements/toolkit-otel.txt .venv/.dev
	$(call layered,.venv,a toolkit,--require-hashes)

.venv/toolkit-%/.done: requirements/toolkit-%.txt .venv/toolkits/.done
	$(call layered,.venv/toolkits,a toolkit,--require-hashes)

# PyTorch has no list: its builds differ from place to place (with CUDA, without).
.venv/toolkit-%/.done: requirements/toolkit-%.in .venv/toolkits/.done
	$(call layered,.venv/toolkits,a toolkit)

# What cannot be locked with hashes or is needed only by hand: see the .in files.
mlflow-toolkits: .venv/mlflow-toolkits/.done
.venv/mlflow-toolkits/.done .venv/mlflow-suite/.done: .venv/mlflow-%/.done: requirements/mlflow-%.in | .venv/bin/python
	@echo "installing into $(@D) (minutes the first time)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check install --progress-bar off --quiet -r $<
	@touch $@
