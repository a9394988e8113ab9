# Every target calls `pileus` or pytest; the work is in Python. `make help` lists them.
PYTHON := .venv/bin/python
PILEUS := .venv/bin/pileus
# Tests wait more than they compute: more processes than processors (tests/rings.py).
PYTEST := $(PYTHON) -m pytest -n 6 --no-loadscope-reorder

# What `make sim` makes, and where; it needs no root.
HOSTS := 1000
VMS := 10000
SIM_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pileus-sim
SIM_PORT := 8080

.PHONY: help setup up down clean status sim test test-long unit bench lint

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup:  ## install what the cloud needs: Debian packages, Python packages
	@scripts/setup

up: export UPLINK ?=
up: setup  ## bring up the cloud on this machine (UPLINK=eth0 lets guests out through that interface)
	@$(PILEUS) up --uplink="$$UPLINK"

down:  ## stop everything `make up` started; keep the data
	@$(PILEUS) down

clean:  ## remove everything `make up` made
	@$(PILEUS) clean --yes

status:  ## what runs, and where
	@$(PILEUS) status

sim:  ## a management server with a simulated cloud (HOSTS=1000 VMS=10000)
	@[ -x $(PYTHON) ] || scripts/setup
	@$(PYTHON) -m mgmt.sim --home "$(SIM_HOME)" --hosts $(HOSTS) --vms $(VMS) --port $(SIM_PORT)

test:  ## every test ring this machine can run
	@scripts/setup test
	@$(PYTEST) --session-timeout=4500

unit:  ## the quick rings: no root, no VMs
	@scripts/setup test
	@$(PYTEST) -m "unit or contract"

test-long:  ## the long sweeps: every crash point of every job, every call of each failing in every way
	@scripts/setup test
	@PILEUS_TEST_LONG=1 $(PYTEST) --verbose tests/unit/mgmt/doctor

bench:  ## measure, each number beside a baseline of the same run
	@scripts/setup test
	@$(PYTHON) -m tests.bench

lint:  ## ruff, mypy, import arrows
	@scripts/setup test
	@$(PYTHON) -m pytest tests/contract/test_linters.py
