# Everything that people and CI run. `make setup` installs what is missing and says each step; the rest calls xtask.
SHELL := /bin/bash
# What setup builds or downloads itself lies in the cache: cosign, cargo-deny.
export PATH := $(HOME)/.cargo/bin:$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/skep/bin:/usr/local/go/bin:$(PATH)
CARGO := cargo

.PHONY: help setup build test demo bench fuzz guests corpus proof clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t12

setup: ## install what building and testing need (Debian 12, root)
	@scripts/setup.sh build

build: setup ## release binaries: skep, skepd, skep-hub
	$(CARGO) build --release --locked --package skep-cli --package skep-agent --package skep-hub --package testkit

test: ## everything: format, clippy, arrows, licences, unit, end to end, real kernels
	@scripts/setup.sh test
	@$(CARGO) xtask test

demo: build ## the whole way once, on this machine's kernel
	@exec target/x86_64-unknown-linux-musl/release/demo

bench: build ## ours against peers; a table and target/bench.json
	@scripts/setup.sh bench
	$(CARGO) build --release --locked --package bench
	@exec scripts/bench.sh

fuzz: setup ## every parser of strangers' bytes, FUZZ_SECONDS (600) each
	@scripts/setup.sh fuzz
	@$(CARGO) xtask fuzz

guests: setup ## every kernel of tests/kernels.toml
	@scripts/setup.sh test
	@$(CARGO) xtask guests

corpus: build ## an hour: objects of Debian's BPF tools on every kernel; writes docs/reference/corpus.md, target/corpus.json
	@scripts/setup.sh test
	@$(CARGO) xtask corpus

proof: ## hours: every test on every kernel; writes docs/reference/proof.md
	@scripts/setup.sh test
	@$(CARGO) xtask proof

clean: ## remove what was built
	$(CARGO) clean
