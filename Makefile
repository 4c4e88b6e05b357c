# make demo    the main job on a network that ships with leanline; report.html at the end
# make test    everything that must pass before a change lands
# make docs    the documentation, in site/
# make bench   speed, as ratios
# Each makes .venv and installs what it needs first; the second time that takes no time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1 # the theme's advertisement about another version of MkDocs

.PHONY: help demo test lint docs bench install debian clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: install
	$(BIN)/leanline demo

# cheap checks first, so that a slip is found in seconds
test: install debian lint
	$(BIN)/mkdocs build --strict --site-dir $(VENV)/site
	$(BIN)/python -m pytest -n $(JOBS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src
	$(BIN)/lint-imports

docs: install
	$(BIN)/mkdocs build --strict
	@echo "open site/index.html"

bench: install
	$(BIN)/python -m benchmarks

install: $(VENV)/.installed

# A stamp file: pip runs again only after a change of the dependencies or of the pins.
$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.created
	@echo "installing into $(VENV); the first time this takes some minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "the pinned versions need Python 3.11 or newer; this is $$($(PYTHON) --version)."; \
		echo "Choose another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		tools/debian_packages.sh python-venv:python3-venv:"virtual environments"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@touch $@

debian:
	@tools/debian_packages.sh \
		chromium,chromium-browser,google-chrome:chromium:"opens the report in the tests" \
		'/etc/OpenCL/vendors/*.icd:pocl-opencl-icd:kernels are tuned in the tests'

clean:
	rm -rf $(VENV) site build dist
