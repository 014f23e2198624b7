# The two commands of the course:   make lab   opens the lessons in JupyterLab;   make test   runs and compares everything.
# Each target sets up what it needs in .venv. A chosen Python: make lab PYTHON=python3.12

VENV        := .venv
BIN         := $(VENV)/bin
STAMP       := $(VENV)/installed
CONSTRAINTS ?= constraints.txt
LAB_FLAGS   ?=
FIND_PYTHON  = $(or $(PYTHON),python3)

# A Python named by hand that is not the one in .venv: make the environment anew.
ifneq ($(and $(PYTHON),$(wildcard $(BIN)/python)),)
ifneq ($(shell $(PYTHON) -V 2>&1),$(shell $(BIN)/python -V 2>&1))
$(shell rm -f $(STAMP) $(BIN)/python*)
endif
endif
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),-qq) $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: help setup lab test rerun notebooks exercises checkpoints adopt bench gpu-check site clean

help:            ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

setup: $(STAMP)  ## install everything into .venv (the other targets do it by themselves)

$(STAMP): pyproject.toml constraints.txt
	@$(FIND_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This course needs Python 3.11 or newer, and '$(FIND_PYTHON)' is not one. Name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) (once; a few minutes, about 6 GB with GPU support on Linux, 1 GB elsewhere) ..."
	@test -x $(BIN)/python || $(FIND_PYTHON) -m venv --clear $(VENV) || \
	  { echo "No virtual environment could be made. On Debian and Ubuntu install python3-venv; else check the free disk space."; exit 1; }
	@$(PIP) -e ".[dev,classroom]" || \
	  { echo "The installation failed; the reason stands above. Check the network and the free disk space, then run the same command again. To use the newest packages in place of the tested ones: make $(MAKECMDGOALS) CONSTRAINTS="; exit 1; }
	@touch $(STAMP)

lab: setup       ## open the course in JupyterLab
	@JUPYTER_CONFIG_PATH="$(CURDIR)/authoring/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	  $(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(LAB_FLAGS) notebooks/index.ipynb

test: setup      ## run all tests and run and compare every notebook, or all that belongs to one lesson: make test NB=31
	@$(BIN)/ruff check .
	@$(BIN)/python tests/run.py $(if $(NB),--lessons "$(NB)") $(TEST_FLAGS)

rerun: setup     ## run every cell of the lessons and solutions twice in a row: all, or make rerun NB=31
	@$(BIN)/python tests/rerun.py $(NB)

notebooks: setup ## run lessons and save them: all that are out of date, or make notebooks NB=31
	@$(BIN)/python authoring/build.py $(NB)

exercises: setup ## make solutions and student versions anew: all that are out of date, or make exercises NB=31
	@$(BIN)/python authoring/build.py --exercises $(NB)

adopt: setup     ## take an edit made in JupyterLab back into the text source: make adopt NB=31
	@$(if $(NB),,echo "Say which lesson: make adopt NB=31"; exit 1)
	@$(BIN)/python authoring/build.py --adopt $(NB)

checkpoints: setup ## train shipped weights anew: all, or make checkpoints NAME=judge
	@$(BIN)/python -m course_lib.checkpoints $(NAME)

bench: setup     ## compare with other implementations
	@$(PIP) -e ".[bench]"
	@TQDM_DISABLE=1 $(BIN)/python benchmarks/run.py

gpu-check: setup ## what only a GPU can show, in four minutes; WRITE=1 keeps the table in benchmarks/README.md
	@$(BIN)/python benchmarks/gpu.py $(if $(WRITE),--write)

site: setup      ## build the website into build/site; it opens without a server and without a network
	@$(PIP) -e ".[site]"
	@$(BIN)/python authoring/website.py
	@echo "Built: open build/site/index.html in a browser."

clean:           ## remove .venv
	rm -rf $(VENV)
