# The same commands on every machine and in CI. They need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# setuptools warns whoever installs a checkout of a folder named like the package; there is none.
QUIET := PYTHONWARNINGS='ignore:Editable installation'
ROOMS := kling sandbox studio blocks telemetry runs tasks flows deployments

# Compiled files are kept: where the environment forbids it, each process of the tests compiles all anew.
test test-all coverage: export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-all lint docs package coverage mutants bench torture model fuzz soak clean

demo: $(VENV)/installed  ## make the example film: no key, no cloud
	$(BIN)/prefect-kling demo

test: $(VENV)/ready  ## before each commit: the rules, each story once, a kill at every named point
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

test-all: $(VENV)/ready  ## all tests: browsers, PostgreSQL, long films and many processes, too
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/ready build/types  ## style, types, import rules, the image and the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p prefect_kling
	PYTHONPATH=build/types $(BIN)/lint-imports
	$(BIN)/hadolint deployments/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --quiet --offline .github

docs: $(VENV)/ready  ## the documentation as a site, in build/site; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site
	@echo 'build/site/index.html'

package: $(VENV)/ready  ## what is published, into dist/, and whether it would be taken (VERSION=0.3.0: it must be this one)
	rm -rf dist
	$(BIN)/python .ci/package dist $(VERSION)
	$(BIN)/twine check --strict dist/*

coverage: $(VENV)/ready  ## `make test`, the lines that it reached, in all its processes, and whether these are enough
	mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -m 'not slow' $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(VENV)/ready  ## small mistakes in the money path (FILES="ledger budget"), each to be noticed by a test
	$(BIN)/python -m tests.mutants $(FILES)

bench: $(VENV)/ready  ## measure (N="300 1000" clips), print, and write docs/benchmarks.md
	$(BIN)/python -m tests.bench $(or $(N),300 1000)

torture: $(VENV)/ready  ## kill -9 a thousand clips (N=1000) and count what became of them
	$(BIN)/python -m tests.kill $(or $(N),1000) $(ARGS)

model: $(VENV)/ready  ## the ledger model for many examples (N=10000)
	$(BIN)/python -m tests.studio.money.model $(or $(N),10000)

fuzz: $(VENV)/ready  ## mutated inputs (TARGET=replies N=10000): undeclared errors, the slowest case, memory
	$(BIN)/python -m tests.fuzz $(or $(TARGET),all) $(or $(N),10000) $(SEED)

# With the setting that docs/how-to/long-lived-processes.md advises for processes that live long.
soak: $(VENV)/ready  ## an hour of batches while the API misbehaves (MINUTES=60): memory, descriptors, threads
	MALLOC_ARENA_MAX=2 $(BIN)/python -m tests.soak $(or $(MINUTES),60) $(ARGS)

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "prefect-kling needs Python 3.11 or newer")'
	@echo 'installing prefect-kling into $(VENV), which takes a minute or two'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(QUIET) $(BIN)/python -m pip install --quiet -e '.[demo]'
	touch $@

$(VENV)/ready: $(VENV)/installed
	@echo 'installing what tests and checks need'
	$(QUIET) $(BIN)/python -m pip install --quiet -e '.[demo]' --group dev --group docs
	touch $@

# The rooms lie at the top and are imported as prefect_kling.<room>. Type checkers, editors and import-linter cannot follow
# that through an editable install, so they get a folder of links that looks the way the imports read.
build/types: $(ROOMS)
	mkdir -p $@/prefect_kling
	ln -sfn ../../../package/__init__.py $@/prefect_kling/__init__.py
	for room in $(ROOMS); do ln -sfn ../../../$$room $@/prefect_kling/$$room; done
	touch $@

clean:
	rm -rf .venv .venv-ci build dist *.egg-info demo-film
