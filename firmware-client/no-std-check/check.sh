#!/bin/sh
# Builds the firmware client into a program without std and alloc, runs it, and looks for symbols of
# std and alloc in it. Needs the stable toolchain, a C linker and nm, nothing else.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}/no-std-check

for profile in dev release; do
    cargo build --quiet --manifest-path "$here/Cargo.toml" --target-dir "$target" --profile $profile
    folder=$profile
    [ $profile = dev ] && folder=debug
    program=$target/$folder/no-std-check
    timeout 30 "$program" || { echo "no-std-check ($profile): step $? went wrong" >&2; exit 1; }
    # A crate's name stands in mangled names with its length in front; the hooks of the allocator
    # start with __rust_, __rdl_ or __rg_; behind them would be the C library's.
    found=$(nm --format=posix "$program" |
        grep -E '(3std|5alloc)[0-9]|__rust_(alloc|dealloc|realloc|no_alloc)|__r(dl|g)_|^(malloc|calloc|realloc|free|posix_memalign|aligned_alloc)[@ ]' ||
        true)
    if [ -n "$found" ]; then
        printf 'no-std-check (%s): symbols of std or alloc:\n%s\n' $profile "$found" >&2
        exit 1
    fi
    echo "no-std-check ($profile): $(size "$program" | awk 'NR == 2 { print $1 }') bytes of code, runs, no std, no alloc"
done
