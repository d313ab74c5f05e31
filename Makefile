# What a person types here. Everything else is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo test test-containers test-deb deb soak bench lint setup footage web
SHELL := bash

NEXTEST_PROFILE ?= default
MINUTES ?= 10
WORKERS ?= 4
# A newer ffmpeg than the distribution's, where scripts/footage.sh could fetch it: presets must work with both. The shell
# looks for it, because make expands a whole recipe before its first line has fetched anything.
FFMPEG_NEXT = $$(ls "$(CURDIR)/.tools/ffmpeg-n9" 2>/dev/null)
export PATH := $(CURDIR)/.tools/bin:$(PATH)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Start a coordinator and two workers here and put a real clip through them
	@scripts/setup.sh
	@scripts/footage.sh --demo
	@scripts/web.sh
	@scripts/demo.sh

test: ## Run every test: in-file, property and end-to-end
	@scripts/setup.sh --tests
	@scripts/footage.sh
	@scripts/stores.sh
	@scripts/clients.sh
	@scripts/web.sh --tests
	@scripts/chart.sh
	cargo build --locked --workspace --all-targets
	TVARR_TEST_FFMPEG_NEXT="$(FFMPEG_NEXT)" cargo nextest run --locked --workspace --profile $(NEXTEST_PROFILE)

test-containers: ## Build the images around target/debug and put a farm of five containers through faults (root): SOURCE=1 compiles inside
	cargo build --locked --bins
	@scripts/containers.sh $(if $(SOURCE),--source)

soak: ## Break a farm at random under load, then look for what is lost, wrong or left over: MINUTES=10 SEED= WORKERS=4
	@scripts/setup.sh --tests
	@scripts/footage.sh
	cargo build --locked --workspace --bins
	target/debug/soak --minutes $(MINUTES) --workers $(WORKERS) $(if $(SEED),--seed $(SEED))

bench: ## Measure, beside plain ffmpeg, Celery, BullMQ and PostgreSQL (sets up what it needs)
	@scripts/setup.sh --tests
	@scripts/footage.sh
	@scripts/stores.sh
	@scripts/bench.sh

test-deb: ## Install the packages of target/debug into a fresh Debian, run a job, remove them (root, cargo-deb)
	cargo build --locked --bins
	@scripts/deb-check.sh

deb: ## Make Debian packages of the three programs (needs cargo-deb)
	@scripts/deb.sh

lint: ## Formatting, clippy without a warning, licences and advisories if cargo-deny is here
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not installed: licences and advisories were not looked at"; fi

web: ## Build the pages, which the next cargo build puts into the coordinator
	@scripts/web.sh

setup: ## Install what building and testing need and this machine lacks
	@scripts/setup.sh --tests

footage: ## Fetch the clips that the tests use
	@scripts/footage.sh
