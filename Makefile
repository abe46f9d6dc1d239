# The commands of the repository; each may be run at any time, and again.  `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Ubuntu does not know Debian's keys by itself.
IMAGE_PACKAGES := mmdebstrap debian-archive-keyring
LAB_PACKAGES := $(IMAGE_PACKAGES) systemd-container iproute2 nftables openssh-client
# What tests compare with or drive: upstream's etcd, containerd, packet captures.
TEST_PACKAGES := $(LAB_PACKAGES) etcd-server etcd-client containerd runc containernetworking-plugins iptables conntrack tcpdump patch
LIBVIRT_PACKAGES := $(IMAGE_PACKAGES) e2fsprogs iproute2 openssh-client qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients dnsmasq-base iptables
VM_PACKAGES := $(LIBVIRT_PACKAGES) vagrant vagrant-libvirt
# Where kubectl and helm are unpacked if there are none.
export PATH := $(PATH):$(CURDIR)/.cache/bin
IS_ROOT := $(shell [ "$$(id -u)" = 0 ] && echo yes)

.DEFAULT_GOAL := help
.PHONY: help venv libvirt-python lab lab-down test unit lab-test check fix box nightly bench

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

venv: $(VENV)/ready ## Python environment with everything for development

$(VENV)/ready: pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/system-packages python3-venv
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,node,docker,test]'
	@touch $@

libvirt-python: venv # what the libvirt provider needs in the environment
	@tools/libvirt-python $(BIN)/python

lab: ## a running local cluster, from nothing or from whatever is there
ifeq ($(LAB_PROVIDER),libvirt)
	@tools/system-packages $(LIBVIRT_PACKAGES)
	@$(MAKE) --no-print-directory libvirt-python
else
	@tools/system-packages $(LAB_PACKAGES)
	@$(MAKE) --no-print-directory venv
endif
	@$(BIN)/python -m k8sfromscratch.lab up

lab-down: venv ## remove the lab's machines, bridge and firewall rules, and nothing else
	@$(BIN)/python -m k8sfromscratch.lab down

test: check unit lab-test ## everything a change must pass

unit: venv
ifeq ($(IS_ROOT),yes)
	@tools/system-packages $(TEST_PACKAGES)
endif
	@$(BIN)/python -m k8sfromscratch.lab kubectl >/dev/null
	@$(BIN)/python -m k8sfromscratch.lab helm >/dev/null
	$(BIN)/python -m pytest tests --ignore=tests/lab --ignore=tests/vm

lab-test: venv
ifeq ($(IS_ROOT),yes)
	@$(MAKE) --no-print-directory lab
	$(BIN)/python -m pytest tests/lab
else
	@echo "Skipped: the lab's end-to-end tests (tests/lab) need root, for nspawn machines.  Run: sudo make test"
	@[ "$$KFS_REQUIRE" != all ] || { echo "KFS_REQUIRE=all: a skip is a failure" >&2; exit 1; }
endif

check: venv ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: venv ## what check finds, repaired where a program can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

box: venv ## a box for Vagrant, built here, for where none can be downloaded
	@tools/system-packages $(VM_PACKAGES)
	@$(BIN)/python -m k8sfromscratch.lab.box

nightly: venv ## real virtual machines, and all that takes long; a report in .nightly
	@tools/system-packages $(VM_PACKAGES)
	@$(MAKE) --no-print-directory libvirt-python
	@$(BIN)/python -m k8sfromscratch.testing.nightly

bench: venv ## the benchmarks, each beside its peer where one is installed; all run, and it fails if one misses a ratio
	@worst=0; for each in benchmarks/bench_*.py; do \
		echo "== $$each"; $(BIN)/python "$$each"; status=$$?; [ $$status -le $$worst ] || worst=$$status; \
	done; exit $$worst
