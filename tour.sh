#!/bin/sh
# A short tour of pernet through the machine's own `ip`: builds, then runs docs/tour.sh inside `pernet run`.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if ! command -v cargo >/dev/null; then
    echo "tour: cargo is missing: install Rust (on Debian and Ubuntu: sudo apt-get install rustup, or see rust-lang.org)" >&2
    exit 1
fi
if ! command -v ip >/dev/null; then
    echo "tour: \`ip\` is missing, and the tour is led by it: sudo apt-get install iproute2" >&2
    echo "tour: without it, \`pernet run\` works all the same; \`pernet ns --help\` tells how to manage namespaces then" >&2
    exit 1
fi
echo "building (a few minutes the first time) ..."
cargo build --release --quiet -p pernet-cli
pernet=${CARGO_TARGET_DIR:-target}/release/pernet
if ! "$pernet" doctor >/dev/null; then
    "$pernet" doctor
    exit 1
fi
exec "$pernet" run -- sh docs/tour.sh
