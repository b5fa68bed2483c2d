# Every target first brings .venv to what requirements.txt says: minutes on a fresh machine (llama.cpp is compiled
# once), nothing after that. Another Python: make PYTHON=python3.12 test
PYTHON ?= python3
VENV ?= .venv
BIN = "$(VENV)/bin/python"

.PHONY: setup reproduce test check lab bench readme doctor clean

setup:
	@$(PYTHON) lib/tunebook/setup/install.py --venv "$(VENV)"

# Exits 0 when the study completes, whatever its verdict. Another name for the run: make reproduce RUN=mine
RUN ?= quickstart
reproduce: setup
	@"$(VENV)/bin/tunebook" run params/quickstart.yaml --run "$(RUN)" --exit-zero-when-complete

# Three processes, a file each and the longest first, since some tests wait: the first is the whole kit, which runs twice side by side.
test: setup
	@$(BIN) -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

# Linter and quick tests, for the one who changes something: under a minute.
check: setup
	@$(BIN) -m ruff check lib tests bench notebooks
	@$(BIN) -m ruff format --check lib tests bench
	@$(BIN) -m pytest -q -m "not slow" tests/test_rooms.py tests/test_readme.py tests/test_notebooks.py tests/pipeline/test_files.py tests/statistics

lab: setup
	@$(BIN) -m tunebook.setup.lab

bench: setup
	@$(BIN) bench/run.py

# Writes the README's numbers from the recorded runs.
readme: setup
	@$(BIN) -m tunebook.decision.readme

doctor: setup
	@"$(VENV)/bin/tunebook" doctor

# Keeps outputs/ (hours of work) and the cache of downloads.
clean:
	rm -rf "$(VENV)" .pytest_cache .ruff_cache build lib/*.egg-info
