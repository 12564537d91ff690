# `make run` and `make test` do everything, from a fresh machine on. `make help` lists the rest.

# Named outright so that GNU Make 3.81 (macOS) runs each line through a shell, which sees PATH below.
SHELL := /bin/bash

# Where rustup puts cargo: a shell that is older than the installation does not have it in PATH.
export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

PROMPT ?= Why is the sky blue?
export PROMPT

.NOTPARALLEL:
.PHONY: help run test setup setup-test build format lint docs tests

help:
	@echo "make run     install what is missing, build, fetch SmolLM2-135M, generate from it"
	@echo "             (make run PROMPT=\"...\" takes another prompt)"
	@echo "make test    install what is missing, then all that CI runs: format, lint, docs, tests"
	@echo "make build   target/release/quarrel"
	@echo "make format | lint | docs | tests    one part of make test"

run: setup build
	cargo run --release --locked --quiet -p quarrel-cli -- pull smollm2
	cargo run --release --locked --quiet -p quarrel-cli -- run smollm2 --stats "$$PROMPT"

# Cheap checks first.
test: setup-test format lint docs tests

setup:
	scripts/setup.sh run

setup-test:
	scripts/setup.sh test

build:
	cargo build --release --locked -p quarrel-cli

format:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Links to private items are for those who read the code.
docs:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --no-deps --workspace --locked

# The golden tests run real models, which QUARREL_TEST_MODEL (SmolLM2) and QUARREL_TEST_GEMMA name or
# the `quarrel` that was just built fetches. QUARREL_TEST_DEVICE chooses the GPU; a test that finds none fails.
tests:
	cargo test --workspace --locked --no-run
	@set -eo pipefail; \
	built=$$(cargo metadata --no-deps --locked --format-version 1 \
	  | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'); \
	pull() { "$$built/debug/quarrel" pull "$$1" --json | sed -n 's/.*"path":"\([^"]*\)".*/\1/p'; }; \
	if [ -z "$$QUARREL_TEST_MODEL" ]; then QUARREL_TEST_MODEL=$$(pull smollm2); fi; \
	if [ -z "$$QUARREL_TEST_GEMMA" ]; then QUARREL_TEST_GEMMA=$$(pull gemma3-270m); fi; \
	export QUARREL_TEST_MODEL QUARREL_TEST_GEMMA; \
	echo "cargo test --workspace --locked  # QUARREL_TEST_MODEL=$$QUARREL_TEST_MODEL QUARREL_TEST_GEMMA=$$QUARREL_TEST_GEMMA"; \
	cargo test --workspace --locked
