# make demo   set up, render the embedded corpus, train on it, show where everything is
# make test   set up, lint, check types, run all tests

PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH :=

.PHONY: demo test lint types tests clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("mmmae needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

demo: .venv/ready
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		mmmae/train.py --modalities video,audio,imu,text --output runs/demo --steps 200 training.evaluate_every=100

test: lint types tests

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/pyright

tests: .venv/ready
	$(BIN)/pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf .venv build *.egg-info runs/demo
