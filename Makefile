# `make help` lists what there is to type. Works with GNU make 3.81 and later and any POSIX sh.

PORT ?= 8787
STATE ?= .wrangler/state
TESTS ?= tests/live/*.test.mjs
SECONDS ?= 600
BUNDLE_BUDGET := 1000000

WORKER_BUILD_VERSION := 0.8.7
# The tool and the crate pinned in src/edge/Cargo.toml must be the same version.
WASM_BINDGEN_VERSION := 0.2.129

ROOT := $(CURDIR)
CARGO_TOOLS := .tools/worker-build-$(WORKER_BUILD_VERSION)-wasm-bindgen-$(WASM_BINDGEN_VERSION).stamp
NODE_MODULES := node_modules/.stamp
NODE := node_modules/.bin/node
PYTHON_PACKAGES := .venv/.stamp

# What running the Worker takes; its tests take Python besides.
TOOLS := wasm-target $(CARGO_TOOLS) $(NODE_MODULES)

# Everything a bundle is made of; the folders too, so that a removed file counts as a change.
SOURCES := $(shell find src) $(wildcard Cargo.toml Cargo.lock)

# A build server must not quietly resolve other versions than the committed ones.
LOCKED := $(if $(CI),--locked)

WASM := --target wasm32-unknown-unknown
# Only wasm32 means anything to the edge crate: natively it compiles and then aborts.
NATIVE := --workspace --exclude dormouse-edge
# worker-build sets this for its own run; checks must see the same code.
BINDGEN_ENV := WASM_BINDGEN_USE_JS_SYS=1

# Command line texts reach the scripts through the environment and as they were typed: make expands no `$` in
# them and no shell reads them. USER counts only when typed; the environment has a login name in it.
export ARG_USER = $(if $(filter command,$(firstword $(origin USER))),$(value USER))
export ARG_TITLE = $(value TITLE)
export ARG_CONTENT = $(value CONTENT)
export ARG_DEPARTMENTS = $(value DEPARTMENTS)
export ARG_TTL = $(value TTL)
unexport TITLE CONTENT DEPARTMENTS TTL
export PORT STATE

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
# In the order written, and never two builds at a time: both bundles go through one Cargo output folder.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help dev conformance bundle-conformance test check setup bundle bundle-instruments live storm room-storm \
	fan-out crowd abuse chaos soak ledger bench bench-report \
	token key push watch clean distclean python wasm-target fmt clippy docs native layers size no-instruments fuzz \
	codec-bench types types-check

# Announcements go to stderr, so that `make token` and `make key` print nothing else on stdout.
say = @echo "==> $(1)" >&2

help:
	@awk -F '## ' '/^[a-z-]+:.*## / { split($$1, name, ":"); printf "make %-19s %s\n", name[1], $$2 }' Makefile

dev: $(TOOLS) .dev.vars bundle ## set up, build and run on PORT (8787), with local data in STATE (.wrangler/state)
	@exec $(NODE) scripts/dev.mjs

conformance: $(TOOLS) .dev.vars bundle-conformance ## serve the official protocol suites on PORT, at /socket.io/ and /engine.io/
	@ENVIRONMENT=conformance STATE=$(STATE)/conformance exec $(NODE) scripts/dev.mjs

test: setup check size no-instruments live ## set up and check everything: what CI runs
	$(call say,everything passed)

check: fmt clippy native layers docs types-check ## format, lints, native tests, layers, documentation, types

# ---- set-up ----

setup: $(TOOLS) python ## install what is missing: wasm target, tools in .tools, npm packages, Python packages in .venv

wasm-target:
	@test -d "$$(rustc $(WASM) --print target-libdir)" || { \
		echo "==> adding the Rust target wasm32-unknown-unknown" >&2; \
		rustup target add wasm32-unknown-unknown; }

# `cargo install` asks the registry even when there is nothing to do, hence the look first. Unoptimised, the tools compile
# three times faster and take half a second longer in a build; a common target folder compiles what they share once.
has-tool = grep -qs '^"$(1) ' .tools/.crates.toml

$(CARGO_TOOLS):
	@$(call has-tool,worker-build $(WORKER_BUILD_VERSION)) && \
		$(call has-tool,wasm-bindgen-cli $(WASM_BINDGEN_VERSION)) || { \
		echo "==> installing worker-build and wasm-bindgen-cli into .tools (once, a few minutes)" >&2; \
		CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=.tools/target cargo install --locked --root .tools \
			worker-build@$(WORKER_BUILD_VERSION) wasm-bindgen-cli@$(WASM_BINDGEN_VERSION) && \
		rm -rf .tools/target; }
	@touch $@

$(NODE_MODULES): package-lock.json
	$(call say,installing npm packages)
	@npm ci --loglevel=error >&2
	@$(NODE) --version >/dev/null || { \
		echo "node_modules/.bin/node does not run: npm must be allowed to run install scripts" >&2; exit 1; }
	@touch $@

python: $(PYTHON_PACKAGES) ## install the Python client of the live tests into .venv

$(PYTHON_PACKAGES): tests/python/requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "python3 with its venv module is missing: a client of the live tests is written in it" >&2; exit 1; }
	$(call say,installing Python packages into .venv)
	@python3 -m venv --clear .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $< >&2
	@.venv/bin/pip check --quiet --disable-pip-version-check >&2
	@touch $@

.dev.vars: | $(NODE_MODULES)
	$(call say,making .dev.vars with fresh secrets)
	@$(NODE) scripts/dev-vars.mjs

# ---- bundles ----

bundle: build/.stamp ## build the Worker into build/
bundle-instruments: build-instruments/.stamp ## the same with fail points and the ledger, into build-instruments/

# worker-build downloads what these do not name, so each is named and checked.
BUILD_TOOLS := WASM_BINDGEN_BIN=$(ROOT)/.tools/bin/wasm-bindgen \
	WASM_OPT_BIN=$(ROOT)/node_modules/.bin/wasm-opt ESBUILD_BIN=$(ROOT)/node_modules/.bin/esbuild

# The paths in panic messages need not tell where this was built.
BUILD_ENV := RUST_BACKTRACE=0 \
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--remap-path-prefix=$(HOME)=~ --remap-path-prefix=$(ROOT)=dormouse"

# $(1): folder, $(2): further arguments. The names of functions, a tenth of the bundle, are taken out: a panic says its file and
# line without them. The stamp is as old as the start of the build, so that the next one sees
# what was edited meanwhile.
define build-bundle
@for tool in .tools/bin/wasm-bindgen node_modules/.bin/wasm-opt node_modules/.bin/esbuild; do \
	test -x $$tool || { echo "$$tool is missing: run 'make distclean setup'" >&2; exit 1; }; done
$(call say,building $(1))
@mkdir -p $(1) && touch $(1)/.stamp.new
@cd src/edge && PATH="$(ROOT)/node_modules/.bin:$$PATH" $(BUILD_TOOLS) $(BUILD_ENV) \
	$(ROOT)/.tools/bin/worker-build --release --out-dir ../../$(1) $(LOCKED) $(2)
@node_modules/.bin/wasm-opt --all-features --strip-debug --strip-producers \
	$(1)/index_bg.wasm --output $(1)/index_bg.wasm
@mv $(1)/.stamp.new $(1)/.stamp
@$(NODE) scripts/bundle-size.mjs $(1)
endef

build/.stamp: $(SOURCES) $(CARGO_TOOLS) | wasm-target $(NODE_MODULES)
	$(call build-bundle,build,)

bundle-conformance: build-conformance/.stamp ## the same for the protocol suites, into build-conformance/

build-conformance/.stamp: $(SOURCES) $(CARGO_TOOLS) | wasm-target $(NODE_MODULES)
	$(call build-bundle,build-conformance,--features conformance)

build-instruments/.stamp: $(SOURCES) $(CARGO_TOOLS) | wasm-target $(NODE_MODULES)
	$(call build-bundle,build-instruments,--features instruments)

size: bundle ## fail when the bundle is over its budget
	$(call say,bundle size)
	@$(NODE) scripts/bundle-size.mjs build $(BUNDLE_BUDGET)

no-instruments: bundle bundle-instruments bundle-conformance ## prove that the production bundle holds no fail point, no planted fault, no ledger, no conformance mode
	$(call say,no instruments in the production bundle)
	@$(NODE) scripts/no-instruments.mjs build build-instruments build-conformance

# ---- checks ----

fmt: ## check the format
	$(call say,format)
	@cargo fmt --all --check

clippy: wasm-target ## lints, natively and for wasm32
	$(call say,clippy: native)
	@cargo clippy $(LOCKED) $(NATIVE) --all-targets -- -D warnings
	$(call say,clippy: wasm32)
	@$(BINDGEN_ENV) cargo clippy $(LOCKED) $(WASM) -p dormouse-edge -- -D warnings
	$(call say,clippy: wasm32 with all features)
	@$(BINDGEN_ENV) cargo clippy $(LOCKED) $(WASM) -p dormouse-edge --all-features -- -D warnings

native: ## unit, property and vector tests
	$(call say,native tests)
	@cargo test $(LOCKED) $(NATIVE)

docs: wasm-target ## documentation, without a broken link
	$(call say,documentation)
	@RUSTDOCFLAGS=-Dwarnings cargo doc $(LOCKED) $(NATIVE) --no-deps
	@$(BINDGEN_ENV) RUSTDOCFLAGS=-Dwarnings cargo doc $(LOCKED) $(WASM) -p dormouse-edge --no-deps --document-private-items

# Natively and for wasm32: a crate may depend on the platform on one of them only.
layers: ## prove that protocol and domain know nothing of the platform
	$(call say,layers: protocol and domain do not see the platform)
	@for crate in dormouse-protocol dormouse-domain; do for target in "" "$(WASM)"; do \
		tree=$$(cargo tree $(LOCKED) -p $$crate $$target -e normal --prefix none) || exit 1; \
		found=$$(echo "$$tree" | grep -E '^(worker|js-sys|web-sys|wasm-bindgen)') || continue; \
		echo "$$crate depends on:" "$$found" >&2; exit 1; \
	done; done

HTTP_TYPES := $(NODE) node_modules/openapi-typescript/bin/cli.js docs/openapi.json --output types/http.d.ts \
	--default-non-nullable=false

types: $(NODE_MODULES) ## make types/http.d.ts from docs/openapi.json
	@$(HTTP_TYPES) >&2

types-check: $(NODE_MODULES) ## types/http.d.ts is up to date; the types allow what they should and nothing else
	$(call say,types)
	@$(HTTP_TYPES) --check >/dev/null || { echo "types/http.d.ts is stale: run 'make types'" >&2; exit 1; }
	@$(NODE) node_modules/typescript/bin/tsc --project tests/types

live: bundle-instruments bundle-conformance bundle python ## tests against a real workerd, with real clients: [TESTS=tests/live/push.test.mjs]
	$(call say,live tests)
	@$(NODE) scripts/live.mjs $(TESTS)

storm: bundle ## CLIENTS=500 stock clients on a runtime that is killed and started again
	@$(NODE) tests/long/reconnect_storm.mjs

room-storm: bundle-instruments ## USERS=300 users of rooms come, go and are pushed to for DURATION=60 s while objects are evicted
	@$(NODE) tests/long/room_storm.mjs

fan-out: bundle ## one push to up to USERS=3000 users who are online in a room: when the first has it, what each costs
	@$(NODE) tests/long/fan_out.mjs

abuse: bundle ## CONNECTIONS=2000 strangers and FRAMES=20000 frames of garbage: what they cost, and who notices
	@$(NODE) tests/long/abuse.mjs

crowd: bundle-instruments ## what USERS=1000 users cost the record who come back, or acknowledge, at the same time
	@$(NODE) tests/long/crowd.mjs

chaos: bundle-instruments ## kill the runtime KILLS=1000 times, anywhere, and hold what was promised against what is there: [SERVERS=2] [SEED=1] [FAULT=drop-outbox]
	@$(NODE) bench/chaos.mjs

soak: bundle-instruments ## for SECONDS (300) clients come and go: memory, open files and alarms must be what they were
	@$(NODE) bench/soak.mjs

ledger: bundle-instruments ## print what each action costs in billable units, and users in a month
	@$(NODE) bench/ledger.mjs

bench: bundle ## measure beside a Node server and the platform's floor: RUNS=5 [SCENARIOS=one,flight] [SUBJECTS=dormouse,floor] [SCALE=1]
	@$(NODE) bench/run.mjs

bench-report: $(NODE_MODULES) ## write what `make bench` and `make ledger` kept into docs/performance.md, as tables and plots
	@$(NODE) bench/report.mjs

FUZZ_TARGETS := frame payload session http keys

# Each target keeps what it found in fuzz/corpus; an input that fails is in fuzz/artifacts and ends the run.
fuzz: $(NODE_MODULES) ## fuzz each target for SECONDS (600); needs nightly Rust and cargo-fuzz
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
		echo "needs nightly Rust and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz" >&2; \
		exit 1; }
	@$(NODE) scripts/fuzz-seeds.mjs
	@for target in $(FUZZ_TARGETS); do \
		echo "==> fuzzing $$target for $(SECONDS) s" >&2; mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -max_len=4096 -dict=fuzz/wire.dict -print_final_stats=1 || exit 1; \
	done

codec-bench: $(NODE_MODULES) ## measure the codec beside that of socketioxide: medians and ratios
	@cargo bench $(LOCKED) --manifest-path bench/codec/Cargo.toml --target-dir bench/codec/target -- --noplot --quiet >&2
	@$(NODE) bench/codec/ratios.mjs

# ---- for a running `make dev` ----

token: .dev.vars ## print a token: USER=u1 [DEPARTMENTS=cs,math] [TTL=3600]
	@$(NODE) scripts/token.mjs

key: .dev.vars ## print the service key
	@$(NODE) scripts/key.mjs

push: .dev.vars ## push a notification: USER=u1 TITLE="Hello" [CONTENT="..."]
	@$(NODE) scripts/push.mjs

watch: .dev.vars ## print every event a stock client gets: USER=u1
	@exec $(NODE) scripts/watch.mjs

# ---- ends ----

clean: ## remove what was built; what the fuzzer found stays
	rm -rf build build-instruments build-conformance target fuzz/target fuzz/seeds bench/codec/target

distclean: clean ## remove what was installed and the local data as well; .dev.vars stays
	rm -rf node_modules .tools .venv .wrangler
