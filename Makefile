# make run: set up and start everything.   make test: set up and check everything.   make lint, make test-long, make bench.
.PHONY: run test test-long bench lint setup setup-dev chromium

PYTHON = .venv/bin/python

run: setup
	@exec $(PYTHON) manage.py up

test: lint chromium
	$(PYTHON) -m pytest -n 2

test-long: setup-dev chromium
	$(PYTHON) -m pytest -m long --timeout=3600

# Another list of figures: make bench FIGURES='acks replay'. Against the rival: RIVAL_URL=http://127.0.0.1:8112
bench: setup-dev
	$(PYTHON) -m bench $(FIGURES)

lint: setup-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .

setup:
	$(call installed,requirements.txt)

setup-dev:
	$(call installed,requirements-dev.txt)

chromium:
	@if [ -x /usr/bin/chromium ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests …"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null \
		|| echo "Chromium could not be installed: apt-get's reason is above." >&2; \
	else \
		echo "No Chromium here: the browser tests will be skipped. To have them: sudo apt install chromium"; \
	fi

# The virtual environment holds what file $(1) lists; the stamp in it says which versions. Two makes wait for each other.
define installed
	@exec 9<requirements.txt; if command -v flock >/dev/null; then flock 9; fi; \
	modern='import sys; sys.exit(sys.version_info < (3, 11))'; \
	wanted=$$(cat requirements.txt $(1) | cksum); \
	usable() { $(PYTHON) -c "import pip; $$modern" 2>/dev/null; }; \
	if usable && [ "$$wanted" = "$$(cat .venv/$(1).installed 2>/dev/null)" ]; then exit 0; fi; \
	if ! usable; then \
		for python in python3 python3.11 python3.12 python3.13 python3.14 none; do \
			if $$python -c "$$modern" 2>/dev/null; then break; fi; \
		done; \
		if [ $$python = none ]; then \
			echo "Python 3.11 or newer is needed, and there is none: sudo apt install python3 python3-venv" >&2; exit 1; \
		fi; \
		echo "Creating .venv with $$($$python -V) …"; \
		if ! $$python -m venv --clear .venv; then \
			echo "That did not work. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; \
		fi; \
	fi; \
	echo "Installing $(1), a minute or two the first time …"; \
	if ! $(PYTHON) -m pip install -qq --disable-pip-version-check -r $(1); then \
		echo "Installing $(1) failed: pip's reason is above. If it is the network, run make again." >&2; exit 1; \
	fi; \
	echo "$$wanted" > .venv/$(1).installed
endef
