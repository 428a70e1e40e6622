#!/bin/sh
# All tests, as CI runs them.  Installs what is missing where it may (root on Debian or Ubuntu), else says what.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
begin=$(date +%s)
step() { printf '\n== %s (%s s)\n' "$*" "$(($(date +%s) - begin))"; }

step "what the tests need"
wanted=
for need in ip:iproute2 nstat:iproute2 ethtool:ethtool python3:python3 unshare:util-linux ps:procps cc:gcc \
    nc:netcat-openbsd strace:strace go:golang-go valgrind:valgrind ping:iputils-ping tcpdump:tcpdump traceroute:traceroute \
    tracepath:iputils-tracepath netstat:net-tools ifconfig:net-tools; do
    command -v "${need%%:*}" >/dev/null || wanted="$wanted ${need#*:}"
done
if [ -n "$wanted" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        # shellcheck disable=SC2086 # a list of words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
    else
        echo "missing: sudo apt-get install$wanted (tests that need them are skipped, and say so)"
    fi
fi

step "format"
cargo fmt --all --check
cargo fmt --manifest-path examples/kernel/Cargo.toml --check
step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
# Not in the workspace: it must not share features with anybody.
cargo clippy --manifest-path examples/kernel/Cargo.toml --locked --target-dir "${CARGO_TARGET_DIR:-target}/kernel" \
    -- -D warnings
step "each crate alone, as whoever depends on it builds it"
for crate in pernet-wire pernet-stack pernet-rtnl pernet-async-socket pernet-run pernet-cli; do
    cargo check --quiet --locked -p "$crate"
done
cargo check --quiet --locked -p pernet --no-default-features
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps
step "the program under test"
cargo build --release --locked -p pernet-cli
cargo build --locked -p pernet-run --example outer_filter
PERNET_BIN=$PWD/${CARGO_TARGET_DIR:-target}/release/pernet
export PERNET_BIN
step "the program whose instructions are counted (bench/gates.json; the test is bench/tests/gates.rs)"
cargo build --release --locked -p bench
PERNET_BENCH=$PWD/${CARGO_TARGET_DIR:-target}/release/bench
export PERNET_BENCH
step "tests"
cargo test --workspace --locked --no-fail-fast
step "tests of the core as a kernel has it: spinning locks, no std"
cargo test -p pernet --no-default-features --locked --no-fail-fast
step "spans of the core, where they are asked for"
cargo clippy -p pernet --all-targets --features tracing --locked -- -D warnings
cargo test -p pernet --features tracing --test tracing --locked
step "the core under random schedules"
RUSTFLAGS="--cfg pernet_shuttle" RUST_BACKTRACE=0 SHUTTLE_SILENCE_WARNINGS=1 cargo test -p pernet \
    --no-default-features --test shuttle --target-dir "${CARGO_TARGET_DIR:-target}/shuttle" --locked
step "over"
