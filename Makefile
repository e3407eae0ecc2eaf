# Two commands matter: `make tutorial` runs the course, `make test` checks everything that must hold.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two stamps: what the chapters need, and everything. Who has everything has what the chapters need.
LEARN := $(VENV)/.tutorial
STAMP := $(VENV)/.installed
READY := $(if $(wildcard $(STAMP)),$(STAMP),$(LEARN))
OUT ?= _build
# One test process for each core, at most four; tests that share a notebook run in the same one.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install tutorial test faults lab export outputs readme lint site bench evidence robust clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(LEARN): EXTRAS := lab
$(STAMP): EXTRAS := lab,dev
$(LEARN) $(STAMP): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --constraint constraints.txt
	@touch $@

install: $(STAMP) ## make .venv with everything in it, for those who change the course

tutorial: $(READY) ## install what the chapters need, run every chapter; pages in _build/html, then the table of pitfalls
	$(BIN)/cxr-tutorial run --notebooks nbs --out $(OUT)

test: install ## check everything that must hold
	$(PYTEST)

faults: install ## what takes long: kills at random times, full disks, mutated files, all real files
	$(PYTEST) --slow

lab: $(READY) ## work through the course in JupyterLab, in a copy of your own (cxr-course)
	$(BIN)/cxr-tutorial lab

export: install ## write the library from the notebooks
	$(BIN)/nbdev_export

outputs: install ## run chapters and rooms and put the outputs back into nbs/
	$(BIN)/cxr-tutorial run --notebooks nbs --out $(OUT) --inplace --rooms

readme: install ## write README.md from nbs/index.ipynb
	$(BIN)/python -c 'from pathlib import Path; from cxr_tutorial.dev.pages import write_readme; print(write_readme(Path("nbs"), Path("README.md")))'

lint: install ## check the code in notebooks and tests
	$(BIN)/ruff check nbs tests benchmarks setup.py

site: install ## build the website with Quarto
	@command -v quarto >/dev/null || { echo "make site needs Quarto on the path: get it from https://quarto.org/docs/get-started. The pages of 'make tutorial' need no Quarto."; exit 1; }
	$(BIN)/python -c 'from cxr_tutorial.dev.site import build_site; print(build_site())'

bench: install ## measure speed beside what people run today, into benchmarks/speed.md; with CXR_REAL_DATA on real X-rays
	$(BIN)/python benchmarks/speed.py $$CXR_REAL_DATA

evidence: install ## measure how far the phantom is from real X-rays, and what the pitfalls cost there; needs CXR_REAL_DATA
	@[ -n "$$CXR_REAL_DATA" ] || { echo "Set CXR_REAL_DATA to a folder of real X-rays."; exit 1; }
	$(BIN)/python benchmarks/phantom_speed.py
	$(BIN)/python benchmarks/sim_to_real.py "$$CXR_REAL_DATA"
	$(BIN)/python benchmarks/real_facts.py "$$CXR_REAL_DATA"
	$(BIN)/python benchmarks/real_pitfalls.py "$$CXR_REAL_DATA"
	$(BIN)/python benchmarks/holdout.py "$$CXR_REAL_DATA"

robust: install ## run each pitfall with fresh seeds on fresh cohorts (hours; goes on where it was stopped), into benchmarks/robust.md
	$(BIN)/python benchmarks/robust.py

clean: ## remove what was built, but not .venv and not the cache
	rm -rf $(OUT) _docs _proc build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
