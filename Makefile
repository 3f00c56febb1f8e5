# Two commands set everything up: `make run` and `make test`. A second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIRED ?= autograd,python,numpy,numba,jax,sklearn,torch-cpu,torch-eager,torch-compile,torch-tutorial,torch-ddp,dask
INSTALLED := $(VENV)/installed
# The tests start hundreds of processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run test conformance engines device-code cheats example walkthroughs fuzz check check-static documents sanitize sanitize-cuda mutants notebook benchmark-backends format clean

install: $(INSTALLED)

run: $(INSTALLED)
	$(BIN)/nnbench run --backends all

# three at a time on two cores, since they wait as well as compute; by name, since files with few tests may take longest
test: $(INSTALLED)
	NNBENCH_REQUIRE=$(REQUIRED)$(ALSO) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not engines and not device_code"

# too slow for the tests: each network takes torch.compile seconds, and each process that torch-ddp starts
conformance: $(INSTALLED)
	$(BIN)/nnbench test torch-compile --timeout 600
	$(BIN)/nnbench test 'torch-ddp[processes=1]' 'torch-ddp[processes=2]' --timeout 600
	rm -rf build/ddp
	$(BIN)/nnbench run --backends 'torch-ddp[threads=2]' --rounds 1 --epochs 1 --budget 120 --proof full --require-proof --output build/ddp

# too slow for the tests: runs on machines of engines, which are killed while they work
engines: $(INSTALLED)
	NNBENCH_REQUIRE=$(REQUIRED)$(ALSO) $(BIN)/python -m pytest -n 2 -m engines tests/backends --ignore tests/backends/remote
	NNBENCH_REQUIRE=$(REQUIRED)$(ALSO) $(BIN)/python -m pytest -n 0 -m engines tests/backends/remote

# too slow for the tests: the kernels of cuda, compiled by NVRTC for some devices, and run on one that the CPU emulates
device-code: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt cuda-bindings nvidia-cuda-nvrtc
	NNBENCH_REQUIRE=$(REQUIRED),nvrtc$(ALSO) $(BIN)/python -m pytest -n 2 -m device_code tests/backends/cuda

# too slow for the tests: real runs of all backends that cheat
cheats: $(INSTALLED)
	$(BIN)/python -m pytest -n 0 tests/nnbench/cheats/test_cheats.py

# the example is installed as a third party's plugin would be, but beside the environment
example: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/example ./examples/nnbench-example
	PYTHONPATH=build/example $(BIN)/nnbench test example
	PYTHONPATH=build/example $(BIN)/python -m pytest -o testpaths= -o addopts= examples/nnbench-example

# too slow for the tests: what the pages of docs/walkthroughs say, done as it stands there
walkthroughs: $(INSTALLED)
	$(BIN)/python -m tests.walkthroughs

# too many for the tests: 5,000 cases of bad input (docs/robustness.md); SECONDS=600 goes on for so long, SEED=7 has others
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

check: check-static test

check-static: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# what is made from the code: tables of the documents, schemas of the files and of what crosses the pipe
documents: $(INSTALLED)
	$(BIN)/python -m tests.documents
	$(BIN)/python -m tests.protocol
	$(BIN)/nnbench info --schema config >docs/schema/nnbench.schema.json
	$(BIN)/nnbench info --schema workload >docs/schema/workload.schema.json

# pytest-benchmark's JSON, for pytest-benchmark compare and the tools that read it
benchmark-backends: $(INSTALLED)
	mkdir -p out
	$(BIN)/nnbench test --benchmark --benchmark-json out/benchmarks.json -- --benchmark-max-time=0.5

# the C code of the native backend under ASan and UBSan
sanitize: $(INSTALLED)
	bash .ci/sanitize

# the kernel of the cuda backend under compute-sanitizer, where there is a GPU
sanitize-cuda: $(INSTALLED)
	bash .ci/sanitize-cuda

# whether the tests notice each small change of what judges, compares and keeps: about ten minutes
mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group mutation
	$(BIN)/python -m tests.mutants

# docs/analysis.ipynb, as Jupyter runs it, whose packages are installed for that alone; INPLACE=--inplace keeps what comes
notebook: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group notebook
	$(BIN)/jupyter-execute $(INPLACE) docs/analysis.ipynb

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) dist build mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks

# The stamp is written last, so that an interrupted installation starts again.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and nnbench needs 3.11 or newer; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	@touch $@
