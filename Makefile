# Evenkeel's commands. `make demo` shows what it does, `make test` is everything CI runs.
CARGO ?= cargo
DATA ?= $(CURDIR)/target/fleet

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help demo up test lint unit e2e sim bench
help:
	@echo "make demo   a fleet is started, used, broken and healed; everything is taken down again"
	@echo "make up     a fleet in the foreground (DATA=dir)"
	@echo "make test   everything CI runs"
	@echo "make sim    the simulator's swarm, more seeds than CI runs (SEEDS=n)"
	@echo "make bench  figures of this machine, most as JSON"

demo: target/release/evenkeel
	target/release/evenkeel demo

up: target/release/evenkeel
	target/release/evenkeel up $(if $(filter command line environment,$(origin DATA)),--data $(DATA))

.PHONY: target/release/evenkeel
target/release/evenkeel:
	$(CARGO) build --release --locked --bin evenkeel

# What could not run here (no root, no tool) says so in a line, and the sum is the last one.
test: lint
	@mkdir -p target
	@$(MAKE) --no-print-directory unit e2e 2>&1 | tee target/test.log \
		|| { echo "What failed, and why:"; grep -A 4 "panicked at" target/test.log; exit 1; }
	@awk '/^[0-9]+ not run: /{n+=$$1} END{print n+0 " not run"}' target/test.log

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Tests of drivers and fleets wait for servers more than they work: four at once, each with ports of its own.
unit:
	$(CARGO) test --workspace --exclude evenkeel --locked -- --test-threads 4 --show-output

e2e:
	$(CARGO) test --package evenkeel --locked -- --test-threads 4 --nocapture

SEEDS ?= 2000
sim:
	$(CARGO) run --release --locked --bin evenkeel -- sim swarm --seeds $(SEEDS)

bench: target/release/evenkeel
	bench/outside.py target/release/evenkeel bench engine --services 1000000 --hosts 20000 --for 30s --json
	bench/outside.py target/release/evenkeel bench engine --services 1000000 --only transitions --for 10m --json
	EVENKEEL=target/release/evenkeel bench/transitions.py --services 1000000 --seconds 60
	bench/outside.py target/release/evenkeel sim run s3-outage-2017 --services 1000000 --seed 7
	target/release/evenkeel sim run s3-outage-2017 --services 1000000 --seed 7 --report target/s3-outage-2017.html
	$(CARGO) run --release --locked --package evenkeel-store --example commit_bench
	target/release/evenkeel bench fleet --services 100
	target/release/evenkeel bench ha
	target/release/evenkeel bench backup
	target/release/evenkeel bench archives
	target/release/evenkeel bench checks
	target/release/evenkeel bench recovery
