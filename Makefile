# Two commands do everything on a fresh Debian 12 machine with rustup: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
NAME ?=

.PHONY: help deps build init release demo test fmt clippy unit doc vm scenario bench fuzz

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the Debian packages that are missing, and only those
	@vm-tests/packages

# All of it at once, and the tests below with the same selection: another one would have Cargo build libraries anew.
build: deps ## build every program and test
	@echo "==> building (once; the libraries take some minutes)"
	@$(CARGO) build --workspace --all-targets

init: deps ## build ccnode-init for the initramfs (small, stripped)
	@echo "==> building ccnode-init"
	@$(CARGO) build --profile node -p ccnode-bootstrap --bin ccnode-init

release: deps ## build the trust service for use, by counts of its load
	@vm-tests/packages trust-service/packages.txt || echo "==> going on without them"
	@echo "==> building ccnode-trust by counts of its load (two builds)"
	@trust-service/guided

demo: build init ## a node attests, unlocks and joins; tampered ones are refused
	@target/debug/ccnode-demo

test: deps fmt clippy unit doc vm ## every test

fmt:
	@echo "==> format"
	@$(CARGO) fmt --all --check

clippy: deps
	@echo "==> lints"
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

unit: build
	@echo "==> unit, swtpm and service tests"
	@$(CARGO) test --workspace --exclude ccnode-vm-scenarios
	@$(CARGO) test -p ccnode-vm-scenarios --lib

doc: deps
	@echo "==> documentation"
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

vm: build init
	@echo "==> virtual machines"
	@vm-tests/backports
	@CCNODE_REQUIRE_VMS=1 $(CARGO) test --workspace --test vm

scenario: build init ## run one VM scenario and show its console: make scenario NAME=t17
	@test -n "$(NAME)" || { echo "say which: make scenario NAME=t17"; exit 2; }
	@vm-tests/backports
	@CCNODE_VM_CONSOLE=1 $(CARGO) test --workspace --test vm -- $(NAME)

bench: build init ## times and sizes beside cryptsetup and systemd-cryptsetup
	@vm-tests/packages trust-service/packages.txt || echo "==> going on without them"
	@echo "==> building the generators of load, and the service as it is released"
	@$(CARGO) build --release -p ccnode-appraisal-bench -p ccnode-load
	@trust-service/guided
	@echo "==> verification, on one core"
	@mkdir -p target/bench
	@target/release/ccnode-appraisal-bench > target/bench/appraisal.json
	@echo "==> the service under load"
	@target/release/ccnode-load target/guided/ccnode-trust > target/bench/load.json
	@CCNODE_PROGRAMS=$(CURDIR)/target/guided target/debug/ccnode-bench

fuzz: deps ## fuzz every parser of foreign bytes, FUZZ_SECONDS (600) each
	@fuzz/run
