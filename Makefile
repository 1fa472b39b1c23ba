# Evenkeel's commands. `make test` is everything CI runs.
CARGO ?= cargo

.PHONY: test lint unit
test: lint unit

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit:
	$(CARGO) test --workspace --locked
