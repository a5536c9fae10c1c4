# Each target does its own set-up: on a bare Debian with Python 3.11, git and make, `make demo` is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps
BEGAN := $(shell date +%s)
CODE := records adapters training server cli bench examples tests

# Two test processes on two cores: threads of one that spin while they wait take the core from the other.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false

export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1

.PHONY: help demo test check format serve bench tiny clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# --no-deps everywhere: the lists are complete, and a resolver would add CUDA builds (see requirements/cpu.txt).
$(VENV)/.installed: requirements/cpu.txt pyproject.toml $(wildcard server/engine/native/*)
	@echo "Installing into $(VENV) (about two minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "Chorus needs Python 3.11 or 3.12; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV) \
		|| { rm -rf $(VENV); echo "Python has no venv: apt-get install python3-venv"; exit 1; }
	@$(PIP) -r requirements/cpu.txt
	@$(PIP) --no-build-isolation --editable .
	@$(PY) -c 'import torch' 2>/dev/null || { echo "The torch that pip found here is a CUDA build without its libraries. Set \
	PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds (see PyTorch's installation page), then: make clean"; exit 1; }
	@ls server/engine/_lora*.so >/dev/null 2>&1 || echo "The LoRA kernel could not be built: LoRA on CPU falls back to \
	torch, which is slower with several adapters (no C compiler? apt-get install gcc libc6-dev, then: touch pyproject.toml)."
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements/dev.txt requirements/wandb.txt
	@$(PIP) -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.installed ## Train three brands and talk to them, end to end
	@$(PY) -m examples.demo --began $(BEGAN)

test: $(VENV)/.dev ## Run all tests, the real engine included
	@bash deploy/test-tools.sh
	@$(ONE_THREAD) HF_HUB_OFFLINE=1 $(PY) -m pytest -n 2 -m "not engine"
	@VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -m engine

check: $(VENV)/.dev ## Format, lint, types, walls
	@$(VENV)/bin/ruff format --check --quiet $(CODE) || { echo "run: make format"; exit 1; }
	@$(VENV)/bin/ruff check --quiet $(CODE)
	@$(VENV)/bin/mypy
	@$(PY) -m pytest -q tests/test_walls.py

format: $(VENV)/.dev ## Format the code and mend what the linter can
	@$(VENV)/bin/ruff format --quiet $(CODE)
	@$(VENV)/bin/ruff check --quiet --fix $(CODE)

serve: $(VENV)/.installed ## Serve the tiny base on port 8000
	@$(VENV)/bin/chorus serve --base tiny

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	@$(PIP) -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.bench ## Run all benches (hours) and write docs/benchmarks.md
	@$(PY) -m bench

tiny: $(VENV)/.installed ## Build the tiny base model again (up to 45 minutes on 2 cores)
	@$(PY) -m training.tiny

clean: ## Remove what was installed and built here
	@rm -rf $(VENV) build dist *.egg-info server/engine/_lora*.so .mypy_cache .ruff_cache .pytest_cache
