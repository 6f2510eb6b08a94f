# make demo    two hosts, a tunnel, traffic, rekeys: see it work
# make test    everything that this machine can run; what it cannot is listed with the reason
# make bench   handshake and packet costs beside strongSwan's
# make lint, make unit, make fuzz SECONDS=60, make clean

PYTHON := .venv/bin/python
SECONDS ?= 60

.PHONY: demo test unit lint bench fuzz peers clean

demo: .venv/run.stamp
	$(PYTHON) -m ipsecme.cli demo

test: .venv/dev.stamp peers
	$(PYTHON) tools/run_tests.py

unit: .venv/dev.stamp
	$(PYTHON) tools/run_tests.py --only quick

lint: .venv/dev.stamp
	$(PYTHON) tools/run_tests.py --only lint

bench: .venv/dev.stamp peers
	$(PYTHON) bench/handshake.py
	$(PYTHON) bench/esp.py
	$(PYTHON) bench/flood.py

fuzz: .venv/dev.stamp
	$(PYTHON) tools/run_fuzz.py --seconds $(SECONDS)

# The peers come from Debian packages, so only root on Debian gets them here.
peers:
	@if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then tools/install_peers --vm; fi

.venv/bin/python:
	"$$(tools/find_python)" -m venv .venv
	$@ -m pip install --quiet --upgrade pip

.venv/run.stamp: .venv/bin/python pyproject.toml constraints.txt
	$< -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --group dev --group fuzz --group vm
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
