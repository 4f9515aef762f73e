# collabd: make run starts a server, make test tests everything.

.PHONY: run build test-binary test setup lint rust simulation linear outside conformance kills torture windows simulate fuzz bench waiting pairs frames screenshots side-by-side long dist dist-check msrv deny
CARGO ?= cargo
ARGS ?=
# Where cargo puts what it builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Starts a server; ARGS="--port 9000 --debug" passes options on.
run:
	@test -e $(TARGET)/release/collabd || echo "collabd is built first, which takes some minutes."
	@$(CARGO) build --release
	@exec $(TARGET)/release/collabd $(ARGS)

# One self-contained binary.
build:
	$(CARGO) build --release
	@ls -l $(TARGET)/release/collabd | awk '{printf "$(TARGET)/release/collabd: %.1f MB\n", $$5 / 1e6}'

# What the tests run: the same without link-time optimisation, which is built sooner on several cores.
test-binary:
	$(CARGO) build --quiet --profile ci

# All that a change has to pass; the last lines say what has failed.
test:
	@python3 tests/run.py

# Installs what outside, conformance and kills need.
setup:
	bash tests/outside/setup.sh
	bash tests/conformance/setup.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	$(CARGO) clippy --no-default-features --quiet -- -D warnings
	python3 tests/msrv.py

# Everything compiled by the oldest Rust that Cargo.toml names: rustup toolchain install 1.89.0
msrv:
	python3 tests/msrv.py --compile

# Licences, unwanted packages and sources of all dependencies (deny.toml). cargo-deny is compiled where it is missing,
# which takes minutes. ARGS=advisories adds known faults, from a database that is fetched.
deny: export PATH := $(CURDIR)/.deps/cargo/bin:$(PATH)
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || \
		$(CARGO) install --locked --root .deps/cargo cargo-deny
	$(CARGO) deny check licenses bans sources $(ARGS)

# The Rust tests, with cargo-nextest; it is installed into .deps where it is missing. Two at a time for each core, as
# many of those that go through sockets mostly wait.
rust: export PATH := $(CURDIR)/.deps/cargo/bin:$(PATH)
# Some tests have the server panic; with the names of a debug build that takes longer than its clients wait.
rust: export RUST_BACKTRACE = 0
rust:
	@$(CARGO) nextest --version >/dev/null 2>&1 || \
		$(CARGO) install --locked --root .deps/cargo cargo-nextest
	$(CARGO) nextest run --no-fail-fast --test-threads $$(($$(getconf _NPROCESSORS_ONLN) * 2))

simulation:
	$(CARGO) test --quiet --profile ci --test simulation

# That no message costs more than linearly, by counting what is run (tests/hub/linear.rs).
linear: export RUSTFLAGS = --cfg count_steps -Copt-level=1 -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-trace-pc \
	-Clink-arg=-Wl,--unresolved-symbols=ignore-all
linear:
	$(CARGO) test --target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/steps \
		--no-default-features --test hub linear -- --nocapture --test-threads 1

# Clients nobody here wrote: PyQt6's QWebSocket, Python websockets, Node ws, Chromium, Firefox; nginx and Caddy in between.
outside: test-binary
	bash tests/outside/setup.sh
	python3 tests/outside/run.py

# The Autobahn test suite.
conformance: test-binary
	bash tests/conformance/setup.sh
	python3 tests/conformance/run.py

# The server is killed ten times while people work, and nothing that was confirmed may be lost.
kills: test-binary
	bash tests/outside/setup.sh
	.deps/venv/bin/python tests/torture/run.py 10

# The same two hundred times: some minutes.
torture: test-binary
	bash tests/outside/setup.sh
	.deps/venv/bin/python tests/torture/run.py 200

# collabd.exe, cross-built and run under wine.
windows: test-binary
	bash tests/windows/setup.sh
	python3 tests/windows/run.py

# What is published, into target/dist: tarball, Debian package, wheels, container image, zip. ARGS="deb wheel" makes these.
dist:
	python3 contrib/dist/make.py $(ARGS)

# Each package as its users have it: in an empty root, in Debian's, in a fresh environment, under wine.
dist-check:
	python3 tests/dist/run.py $(ARGS)

# collabd beside four other servers, in turn in one run: about five minutes.
bench:
	python3 benches/run.py

# How long the largest messages keep others waiting; ARGS="--before BINARY" measures another collabd in turn.
waiting: build
	python3 benches/waiting.py $(ARGS)

# What collabd costs beside another one; ARGS="--before BINARY".
pairs: build
	python3 benches/pairs.py $(ARGS)

# How smoothly the live page draws 500 items while ten people drag.
frames: build
	bash tests/outside/setup.sh
	COLLABD_BIN=$${COLLABD_BIN:-$(TARGET)/release/collabd} node benches/frames.mjs

# The README's pictures of the live page, from the real thing: some minutes.
screenshots: test-binary
	bash tests/outside/setup.sh
	node tests/outside/screenshots.mjs

# Ten tables in the editor and in the live page, for docs/side-by-side. OPTIVERSE is the editor's checkout, LAB_PYTHON a Python
# with what it needs; without them it says what is missing.
side-by-side: test-binary
	bash tests/outside/setup.sh
	node tests/outside/side_by_side.mjs

# The stories that take minutes, too.
long: test-binary
	bash tests/outside/setup.sh
	LONG_STORIES=1 python3 tests/outside/run.py

# A hundred thousand simulated sessions: some minutes.
simulate:
	SIMULATIONS=100000 $(CARGO) test --profile ci --test simulation -- --nocapture

# Inputs that libFuzzer makes up for the parsers and the hub (tests/fuzz), on all cores: an hour on two.
EXECUTIONS ?= 10000000
fuzz: export PATH := $(CURDIR)/.deps/cargo/bin:$(PATH)
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
		$(CARGO) install --locked --root .deps/cargo cargo-fuzz
	python3 tests/fuzz/run.py $(EXECUTIONS)
