# Every target sets up .venv by itself when needed, and not twice.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTEST := $(RUN) -m pytest -n 2 --dist worksteal

.PHONY: demo demo-speaker demo-systems test quick-test long-test slurm-test gpu-test check lint format bench clean setup

demo: $(READY)  ## the main job on the synthetic corpus: train, then the matrix and its report
	$(RUN) -m engine run grids/demo.toml
	$(RUN) -m analysis.cltm results/demo

demo-speaker: $(READY)  ## the same for speaker verification
	$(RUN) -m engine run grids/demo_speaker.toml
	$(RUN) -m analysis.cltm results/demo_speaker

SPEAKER_DEMOS := demo_speaker demo_speaker_validated demo_speaker_ecapa demo_speaker_siamese demo_speaker_llm
demo-systems: $(READY)  ## every speaker verification system: five matrices, and one report that compares them
	for grid in $(SPEAKER_DEMOS); do $(RUN) -m engine run grids/$$grid.toml && $(RUN) -m analysis.cltm results/$$grid || exit; done
	$(RUN) -m analysis.compare $(SPEAKER_DEMOS:%=results/%) --out results/speaker-systems

test: $(READY)  ## every test that needs no GPU, no SLURM and no minutes
	$(PYTEST) -m "not long and not gpu and not slurm"

quick-test: $(READY)  ## the tests that take no second
	$(PYTEST) -m "not slow and not gpu and not slurm"

long-test: $(READY)  ## statistics at full size, chaos, what systems learn, submitted jobs, documented commands
	$(PYTEST) -m long

slurm-test: $(READY)  ## jobs on a real SLURM of three nodes on this machine: root, slurm-wlm, munge, iproute2
	CLTM_SLURM_TESTS=1 $(RUN) -m pytest -m slurm

gpu-test: $(READY)  ## what only a GPU can show: CUDA graphs, kernels, precision, memory
	$(RUN) -m pytest -m gpu

check: $(READY)  ## format, lint, types, tests
	$(MAKE) lint
	$(MAKE) test

lint: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(READY)  ## speed, as ratios; prints a table
	$(RUN) -m tests.benchmarks

clean:  ## everything that can be made again; results stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; got $$($(PYTHON) --version). Set it with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[synthetic,dashboards,dev]'
	touch $@
