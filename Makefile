# make deps     install what is missing (Debian packages as root, .venv, npm packages)
# make build    the three programs
# make demo     the whole story on the sandbox, with real commands (KEEP=1 leaves it running)
# make test     everything, with a sample of the long tests
# make torture  everything, with the full numbers
# make bench    the figures
# make check    format and lints
# make clean-run   .ci/run on a fresh clone of HEAD, as a stranger would see it

CARGO ?= cargo
# The tests of the programs mostly wait for servers: more of them than cores at the same time.
IT_THREADS ?= 5
.PHONY: help deps build test judges torture bench demo check clean-run
.DEFAULT_GOAL := help

help:
	@sed -n '/^# make/s/^# //p' $(firstword $(MAKEFILE_LIST))

deps:
	@bash .ci/deps test

build:
	@bash .ci/deps build
	$(CARGO) build --locked --workspace --bins

test: deps build
	env -u CRMSYNC_TORTURE $(CARGO) test --locked --workspace --exclude crmsync
	env -u CRMSYNC_TORTURE $(CARGO) test --locked --package crmsync --lib --bins
	env -u CRMSYNC_TORTURE $(CARGO) test --locked --package crmsync --test it -- --test-threads $(IT_THREADS)
	@$(MAKE) --no-print-directory judges

# the vendors' own clients against the sandbox
judges:
	@if [ -e tests/judges/run.sh ]; then bash tests/judges/run.sh; fi

torture: deps build
	CRMSYNC_TORTURE=full $(CARGO) test --locked --workspace --exclude crmsync
	CRMSYNC_TORTURE=full $(CARGO) test --locked --package crmsync --lib --bins
	CRMSYNC_TORTURE=full $(CARGO) test --locked --package crmsync --test it -- --test-threads $(IT_THREADS)

# The figures, or some: make bench PART="sqlite postgres" (docs/figures.md). The allocator is set as
# the service sets it.
bench:
	@bash .ci/deps bench
	$(CARGO) build --locked --release --workspace --bins
	MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=262144 CRMSYNC_BIN_DIR=$(CURDIR)/target/release CRMSYNC_SANDBOX_BIN=$(CURDIR)/target/release/crmsync-sandbox \
	$(CARGO) bench --locked --profile dev --bench figures -- $(PART)

demo:
	@bash .ci/deps demo
	$(CARGO) build --locked --workspace --bins
	@bash demo/run

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

clean-run:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	git clone --quiet . "$$dir/clone" && env -u CARGO_TARGET_DIR CI=true bash "$$dir/clone/.ci/run"
