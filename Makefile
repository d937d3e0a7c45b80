# make train    train on the built-in data; the first call sets up .venv
# make test     run the tests; so does this one
# make lessons  open the lessons in JupyterLab, which it installs
# make bench    measure speed and memory on the CPU beside PyTorch, which it installs; ARGS=--quick takes a minute
# make lint     check the style
# make clean    delete .venv and what the tools left; runs, weights and results stay
#
# ARGS="..." goes to the command: make train ARGS="--epochs 3", make test ARGS="-k conv".
# PYTHON=... is the Python that .venv is made with, 3.11 or newer.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: train test lessons bench lint clean
.DELETE_ON_ERROR:

train: $(VENV)/.installed
	@$(VENV)/bin/python -m minicam.train $(ARGS)

test: $(VENV)/.installed_test
	@$(VENV)/bin/python -m pytest $(ARGS)

lessons: $(VENV)/.installed_lessons
	@$(VENV)/bin/python -m jupyter lab --ServerApp.root_dir="$(CURDIR)" $(ARGS) lessons/01_images.ipynb

bench: $(VENV)/.installed_bench
	@$(VENV)/bin/python -m minicam.bench cpu $(ARGS)

lint: $(VENV)/.installed_test
	@$(VENV)/bin/ruff check $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find minicam lessons tests -name __pycache__ -prune -exec rm -rf {} +

# For the emulator of CUDA kernels.
COMPILER = command -v g++ > /dev/null || command -v clang++ > /dev/null || [ -n "$$CXX" ] || \
    { echo "there is no g++ or clang++ for the emulator: installing Zig's compiler into $(VENV)"; $(PIP) ziglang; }

# The stamps say what was installed, and when: anew after a change of pyproject.toml, and not before.

$(VENV)/.installed: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing minicam into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed_test: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing minicam and what its tests need into $(VENV)"
	@$(PIP) --editable ".[test]"
	@$(COMPILER)
	@touch $(VENV)/.installed $@

$(VENV)/.installed_lessons: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing minicam and JupyterLab into $(VENV)"
	@$(PIP) --editable ".[lessons]"
	@$(COMPILER)
	@touch $(VENV)/.installed $@

$(VENV)/.installed_bench: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing minicam, PyTorch and Keras into $(VENV)"
	@$(PIP) --editable ".[bench]"
	@touch $(VENV)/.installed $@

# Should a recipe fail, make deletes its target: the next call begins anew.
$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" > /dev/null || \
	    { echo "minicam needs Python 3.11 or newer, and there is no $(PYTHON); name one with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "minicam needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1); name another with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || \
	    { echo "$(PYTHON) cannot make a virtual environment: its modules venv and ensurepip are missing; on Debian and Ubuntu install python3-venv"; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)
