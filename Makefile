# `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup test lint fmt soak locks
BIN := .venv/bin

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: ## .venv with everything that the tests need, from the lock
	@scripts/setup dev

lint: setup ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint ## lint, then all tests but the long ones; REQUIRE="sandbox docker" makes a missing kind fail
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=90

soak: setup ## the long tests: kills and load at random moments
	$(BIN)/python -m pytest -m soak

locks: setup ## all locks again: npm's out of their package.json, pip's out of uv.lock
	$(BIN)/python scripts/make-locks
	scripts/make-python-locks
