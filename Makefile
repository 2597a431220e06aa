# Every target sets the environment up first, in .venv, from the pinned constraints.txt.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# The versions that are installed; constraints-hashed.txt has uv compare what it downloads with checksums, torch excepted.
CONSTRAINTS ?= constraints.txt

# Empty, as by default: where it is 1, each process compiles torch and all else anew, for two seconds.
export PYTHONDONTWRITEBYTECODE =

# Real data for tests and experiments that use some (experiments/_data.py says which), where they are.
export CALIBRANT_DATA ?= $(wildcard ../shared/data)

.PHONY: setup demo format check types test test-all long engines fuzz lowest shapes docs wheel first-minutes browser bench lock clean

setup: $(VENV)/.stamp
$(VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt uv
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(BIN)/python -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

demo: setup  ## the whole job on built-in scenes; prints where the report is
	$(BIN)/calibrant demo -o demo --overwrite

format: setup
	$(BIN)/ruff check -q --fix-only .
	$(BIN)/ruff format -q .

check: setup  ## lint, format, layers, types of the package, plain words
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/ty check -q --python $(VENV)
	$(BIN)/python tools/plain_words.py

types: setup  ## what a user's type checker makes of the package: mypy --strict on tests/typing
	$(BIN)/mypy

# Two processes of one thread each: the tensors are tiny, and threads would wait for each other longer than they compute.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

test: setup  ## all but what is marked slow
	$(PYTEST) -n 2 -m "not slow and not fuzz and not long and not browser"

test-all: setup  ## every test but those that draw other random numbers each time, and those of minutes each
	$(PYTEST) -n 2 -m "not fuzz and not long and not browser"

long: setup  ## what takes minutes: every model behind every calibrator as ONNX, kills of long commands, a long page
	$(PYTEST) -n 2 -m long

engines: setup  ## engines over Ray, and workers of Dask killed at an S3 server, with packages that nothing else here needs
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(VENV)-engines
	$(BIN)/uv pip freeze --python $(BIN)/python | grep '^torch==' > $(VENV)-engines/torch.txt
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(VENV)-engines/bin/python -c $(VENV)-engines/torch.txt -e '.[dev,dask,ray]' s3fs 'moto[server]'
	OMP_NUM_THREADS=1 $(VENV)-engines/bin/python -m pytest -q tests/sharding/test_engines.py
	OMP_NUM_THREADS=1 $(VENV)-engines/bin/python tools/lost_workers.py

fuzz: setup  ## the property tests with many random examples; prints those that fail
	$(PYTEST) -n 2 -m "hypothesis or fuzz" --hypothesis-profile=fuzz

lowest: setup  ## the quick tests with the oldest packages that pyproject.toml allows, torch excepted (as in $(VENV))
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(VENV)-lowest
	$(BIN)/uv pip freeze --python $(BIN)/python | grep '^torch==' > $(VENV)-lowest/torch.txt
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(VENV)-lowest/bin/python --resolution lowest-direct -c $(VENV)-lowest/torch.txt -e '.[dev]'
	OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python -m pytest -q -n 2 -m "not slow and not fuzz and not long and not browser" -W ignore::DeprecationWarning -W ignore::FutureWarning -W "ignore:The behavior of affine_transform" -W "ignore:torch.meshgrid" -W "ignore:Using a non-tuple sequence"

# Not those of commands and of damaged files, which answer wrong types in their own words.
SHAPES = calibrators contracts data metrics models networks report samplers storage training

shapes: setup  ## quick tests of the floors that compute, with every shape annotation turned into a check
	$(PYTEST) -n 2 -p tools.shapes --jaxtyping-packages=calibrant,tools.shapes.checked -m "not slow and not fuzz and not long and not browser and not untyped" $(SHAPES:%=tests/%)

docs: setup  ## the site, in site/; fails at a link or an anchor that leads nowhere
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

wheel: setup  ## what users install: built, put into an empty environment outside of the checkout, and run
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/python tools/try_wheel.py

first-minutes: setup  ## the pages of docs/first, each from a fresh environment, with the time that each took
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/python tools/first_minutes.py --write

browser: setup  ## the report in headless Chromium; skipped without Chromium (Debian: apt-get install chromium)
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[browser]'
	$(PYTEST) -m browser tests/browser

bench: setup  ## ratios to a plain pass, and to other libraries, in one run
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.tally
	$(BIN)/python -m benchmarks.fit
	$(BIN)/python -m benchmarks.apply
	$(BIN)/python -m benchmarks.checking
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.city
	$(BIN)/python -m benchmarks.hypotheses
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.peers

lock: setup  ## refresh constraints.txt, also with hashes; they hold no address, and torch stays without a local tag
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --generate-hashes --no-annotate --no-header -c pins.in pyproject.toml -o .lock.tmp
	{ awk '/^[a-z]/ { keep = !/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/ } keep' .lock.tmp; cat pins.in; } > constraints-hashed.txt
	grep '^[a-z]' constraints-hashed.txt | sed 's/ \\$$//' > constraints.txt
	rm .lock.tmp

clean:
	rm -rf $(VENV) $(VENV)-lowest demo runs site dist
