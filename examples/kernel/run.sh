#!/bin/sh
# Builds the kernel, links it with the machine, and runs it.  Needs cargo and a C compiler.
set -eu
cd "$(dirname "$0")"
out=${KERNEL_TARGET_DIR:-../../target/kernel}
${CARGO:-cargo} build --quiet --locked --release --target-dir "$out"
# -u and -r: the kernel as one object, in which whatever it needs from outside stands as undefined.
cc -nostdlib -r -Wl,-u,kernel_main -o "$out/kernel.o" "$out/release/libkernel.a"
cc -Wall -Wextra -Werror -o "$out/kernel" host.c "$out/kernel.o"
exec "$out/kernel"
