# `make demo` sets up and runs the main job on what ships; `make test` runs everything that CI runs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= demo
CONSTRAINTS ?= constraints.txt

# a weights file of your own for the demo: make demo WEIGHTS=FILE; without, those that ship
WEIGHTS ?=

.PHONY: demo test lint fast oldest docs build setup clean

setup: $(READY)

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11"; echo "hint: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev,docs]'
	@touch $@

demo: $(READY)
	@mkdir -p $(OUT)
	$(BIN)/featherface params --model v1
	$(BIN)/featherface export $(if $(WEIGHTS),--weights $(WEIGHTS)) --dynamic --test-sizes --out $(OUT)/model.onnx --package $(OUT)/package
	$(BIN)/featherface detect featherface_core/assets/astronaut.png --onnx $(OUT)/model.onnx --out $(OUT)
	@echo "Look at $(OUT)/astronaut_faces.png; the deployment package is $(OUT)/package."

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# each worker runs whole files, for the fixtures that a file shares; tests/conftest.py puts the slow files first
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

test: lint docs
	$(PYTEST)

fast: $(READY)
	$(PYTEST) -m "not slow"

# the quick tests and one export with the oldest versions that pyproject.toml allows; torch comes with gigabytes of CUDA libraries
oldest:
	$(MAKE) fast VENV=$(VENV)-oldest CONSTRAINTS=constraints-oldest.txt
	$(VENV)-oldest/bin/featherface doctor --only export

# the site of docs/ and the public API in site/index.html; a warning is an error
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# dist/: the source archive and the wheel made from it; both are installed in environments of their own, and tried
build: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	PYTHON=$(PYTHON) CONSTRAINTS=$(CONSTRAINTS) .ci/try-packages dist/*.tar.gz dist/*.whl

clean:
	rm -rf $(VENV) $(VENV)-oldest $(OUT) build dist site
